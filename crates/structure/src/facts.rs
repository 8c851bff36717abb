//! What one Rust file says, as plain values: its functions, types, modules, and the paths it names.

mod reader;

use anyhow::Result;

#[derive(Debug, Default)]
pub struct Facts {
    pub functions: Vec<Function>,
    pub types: Vec<TypeDefinition>,
    /// `mod x;` and `mod x { .. }`.
    pub modules: Vec<Module>,
    /// Imports, one for each name.
    pub imports: Vec<Import>,
    /// Paths in code, those inside macro calls included.
    pub mentions: Vec<Mention>,
    /// Every item at module level, for re-exports by `*`.
    pub items: Vec<(Vec<String>, String)>,
}

#[derive(Debug)]
pub struct Function {
    pub name: String,
    pub line: usize,
    /// Lines from the opening brace to the closing one, both included; 0 without a body.
    pub body_lines: usize,
    pub parameters: usize,
    /// Lines of parameters that are a tuple.
    pub tuples: Vec<usize>,
}

#[derive(Debug)]
pub struct TypeDefinition {
    pub name: String,
    pub line: usize,
    pub in_test: bool,
}

#[derive(Debug)]
pub struct Module {
    /// The modules around it in this file.
    pub inside: Vec<String>,
    pub name: String,
    pub line: usize,
    pub is_test: bool,
}

#[derive(Debug)]
pub struct Import {
    pub inside: Vec<String>,
    pub path: Vec<String>,
    /// The name that the module then knows; `*` for all of them.
    pub name: String,
    pub line: usize,
    /// `pub`, `pub(crate)` or the like: it hands the name on.
    pub is_export: bool,
    pub in_test: bool,
}

#[derive(Debug)]
pub struct Mention {
    pub inside: Vec<String>,
    pub path: Vec<String>,
    pub line: usize,
    pub in_test: bool,
}

impl Facts {
    pub fn read(text: &str) -> Result<Self> {
        Ok(reader::read(&syn::parse_file(text)?))
    }
}
