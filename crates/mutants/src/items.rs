//! The items of one file, each with the place of its body.

use std::ops::Range;

use anyhow::{Context, Result};
use syn::visit::{self, Visit};
use syn::{Attribute, FnArg, ImplItem, Item, Pat, PatIdent, Signature, Type};

/// A function or a constant whose body can be replaced.
#[derive(Clone, Debug)]
pub struct Found {
    /// `crate::module::Type::name`; for a shell function `file::name`.
    pub path: String,
    /// Where in the file the body stands: the block of a function, the value of a constant.
    pub body: Range<usize>,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With the names of its parameters.
    Function(Vec<String>),
    Constant,
    ShellFunction,
}

/// A function that a test runner calls.
#[derive(Clone, Debug)]
pub struct Test {
    /// Modules and name.
    pub path: String,
}

impl Found {
    /// The file's text with `body` in place of what stands there.
    pub fn replaced(&self, text: &str, body: &str) -> Result<String> {
        let (before, after) = (text.get(..self.body.start), text.get(self.body.end..));
        let (before, after) = before.zip(after).context("the body is not in the file")?;
        let body = match &self.kind {
            Kind::Constant => body.to_owned(),
            Kind::ShellFunction => format!("{{\n    {body}\n}}"),
            Kind::Function(names) if names.is_empty() => format!("{{ {body} }}"),
            // What is borrowed counts as used.
            Kind::Function(names) => {
                let used: String = names.iter().flat_map(|name| ["let _ = &", name, "; "]).collect();
                format!("{{ {used}{body} }}")
            }
        };
        Ok(format!("{before}{body}{after}"))
    }
}

/// Items and tests of a Rust file that stands for `module`.
pub fn of_rust(text: &str, module: &str) -> syn::Result<(Vec<Found>, Vec<Test>)> {
    let file = syn::parse_file(text)?;
    let mut reader = Reader::default();
    reader.read(&file.items, module, false);
    Ok((reader.items, reader.tests))
}

/// Functions of a shell script, as `name() {` at the start of a line to `}` at the start of another.
pub fn of_shell(text: &str, file: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let mut open: Option<(&str, usize)> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let plain = line.trim_end();
        if let Some((name, _)) = plain.split_once("() {").filter(|(name, _)| is_word(name)) {
            open = Some((name, at + name.len() + "() ".len()));
        } else if plain == "}"
            && let Some((name, start)) = open.take()
        {
            found.push(Found {
                path: format!("{file}::{name}"),
                body: start..at + 1,
                kind: Kind::ShellFunction,
            });
        }
        at += line.len();
    }
    found
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[derive(Default)]
struct Reader {
    items: Vec<Found>,
    tests: Vec<Test>,
}

impl Reader {
    /// What stands in a module for tests is no guard.
    fn read(&mut self, items: &[Item], module: &str, for_tests: bool) {
        for item in items {
            match item {
                Item::Fn(one) => {
                    let path = format!("{module}::{}", one.sig.ident);
                    if one.attrs.iter().any(is_test) {
                        self.tests.push(Test { path });
                    } else if !for_tests {
                        self.function(path, &one.sig, one.block.brace_token.span.join());
                    }
                }
                Item::Const(one) if !for_tests => {
                    self.constant(format!("{module}::{}", one.ident), &one.expr);
                }
                Item::Static(one) if !for_tests => {
                    self.constant(format!("{module}::{}", one.ident), &one.expr);
                }
                Item::Mod(one) => {
                    let inside = one.content.as_ref().map_or(&[][..], |(_, items)| items);
                    let module = format!("{module}::{}", one.ident);
                    self.read(inside, &module, for_tests || one.attrs.iter().any(is_for_tests));
                }
                Item::Impl(one) if !for_tests => {
                    if let Some(name) = name_of(&one.self_ty) {
                        self.methods(&one.items, &format!("{module}::{name}"));
                    }
                }
                // Property tests: `proptest! { #[test] fn name(..) { .. } }`.
                Item::Macro(one) => self.tests_in(&one.mac, module),
                _ => {}
            }
        }
    }

    fn methods(&mut self, items: &[ImplItem], owner: &str) {
        for item in items {
            match item {
                ImplItem::Fn(one) => {
                    let place = one.block.brace_token.span.join();
                    self.function(format!("{owner}::{}", one.sig.ident), &one.sig, place);
                }
                ImplItem::Const(one) => self.constant(format!("{owner}::{}", one.ident), &one.expr),
                _ => {}
            }
        }
    }

    fn function(&mut self, path: String, signature: &Signature, body: proc_macro2::Span) {
        self.items.push(Found {
            path,
            body: body.byte_range(),
            kind: Kind::Function(parameters(signature)),
        });
    }

    fn constant(&mut self, path: String, value: &syn::Expr) {
        self.items.push(Found {
            path,
            body: syn::spanned::Spanned::span(value).byte_range(),
            kind: Kind::Constant,
        });
    }

    fn tests_in(&mut self, mac: &syn::Macro, module: &str) {
        let tokens: Vec<String> = mac
            .tokens
            .clone()
            .into_iter()
            .map(|token| token.to_string())
            .collect();
        for pair in tokens.windows(2).filter(|pair| pair[0] == "fn") {
            let path = format!("{module}::{}", pair[1]);
            self.tests.push(Test { path });
        }
    }
}

fn is_test(attribute: &Attribute) -> bool {
    attribute
        .path()
        .segments
        .last()
        .is_some_and(|last| last.ident == "test")
}

fn is_for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute
            .parse_args::<syn::Path>()
            .is_ok_and(|path| path.is_ident("test"))
}

fn name_of(owner: &Type) -> Option<String> {
    match owner {
        Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        Type::Reference(to) => name_of(&to.elem),
        _ => None,
    }
}

fn parameters(signature: &Signature) -> Vec<String> {
    struct Names(Vec<String>);
    impl<'ast> Visit<'ast> for Names {
        fn visit_pat_ident(&mut self, one: &'ast PatIdent) {
            self.0.push(one.ident.to_string());
            visit::visit_pat_ident(self, one);
        }
    }
    let mut names = Names(Vec::new());
    for input in &signature.inputs {
        if let FnArg::Typed(one) = input {
            names.visit_pat(&one.pat as &Pat);
        }
    }
    names.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUST: &str = "
const LIMIT: u32 = 3 + 4;
struct Queue;
impl Queue { async fn takes(&self, (a, b): (u8, u8), (Some(c) | Other(c)): Many) -> bool { a > b } }
mod inner { pub fn plain() -> u8 { 1 } }
#[cfg(test)] mod tests { fn helper() {} #[tokio::test] async fn it_works() {} }
";

    fn find(path: &str) -> Found {
        let (items, _) = of_rust(RUST, "house::room").unwrap();
        let found: Vec<Found> = items.into_iter().filter(|one| one.path == path).collect();
        assert_eq!(found.len(), 1, "{path}");
        found.into_iter().next().unwrap()
    }

    #[test]
    fn a_constant_keeps_its_type() {
        let text = find("house::room::LIMIT").replaced(RUST, "0").unwrap();
        assert!(text.contains("const LIMIT: u32 = 0;"), "{text}");
    }

    #[test]
    fn a_method_keeps_its_signature_and_uses_its_parameters() {
        let text = find("house::room::Queue::takes").replaced(RUST, "true").unwrap();
        assert!(
            text.contains("-> bool { let _ = &a; let _ = &b; let _ = &c; let _ = &c; true } }"),
            "{text}"
        );
    }

    #[test]
    fn modules_are_part_of_the_path_and_tests_are_no_guards() {
        assert_eq!(find("house::room::inner::plain").kind, Kind::Function(Vec::new()));
        let (items, tests) = of_rust(RUST, "house").unwrap();
        assert!(!items.iter().any(|one| one.path.contains("tests")), "{items:?}");
        assert_eq!(
            tests.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(),
            ["house::tests::it_works"]
        );
    }

    #[test]
    fn a_shell_function_is_found_to_its_brace() {
        let script = "set -e\nis_ours() { # URL\n    grep x \"$1\"\n}\nis_ours y\n";
        let found = of_shell(script, "deploy/make");
        assert_eq!(found[0].path, "deploy/make::is_ours");
        assert_eq!(
            found[0].replaced(script, "true").unwrap(),
            "set -e\nis_ours() {\n    true\n}\nis_ours y\n"
        );
    }
}
