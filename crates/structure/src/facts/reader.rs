//! Walks through a parsed file and notes down what it says.

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::{Facts, Function, Import, Mention, Module, TypeDefinition};

pub fn read(file: &syn::File) -> Facts {
    let mut reader = Reader::default();
    reader.visit_file(file);
    reader.facts
}

#[derive(Default)]
struct Reader {
    facts: Facts,
    inside: Vec<String>,
    /// How many functions are around us: what they define is not at module level.
    functions: usize,
    /// How many `#[cfg(test)]` or `#[test]` items are around us.
    tests: usize,
}

impl Reader {
    fn mention(&mut self, path: Vec<String>, line: usize) {
        if path.len() > 1 {
            self.facts.mentions.push(Mention {
                inside: self.inside.clone(),
                path,
                line,
                in_test: self.tests > 0,
            });
        }
    }

    fn type_definition(&mut self, ident: &syn::Ident, attributes: &[syn::Attribute]) {
        if self.functions == 0 {
            self.facts.types.push(TypeDefinition {
                name: ident.to_string(),
                line: line_of(ident),
                in_test: self.tests > 0 || is_test(attributes),
            });
        }
    }

    fn function(&mut self, signature: &syn::Signature, body: Option<&syn::Block>) {
        let is_tuple = |input: &syn::FnArg| match input {
            syn::FnArg::Receiver(_) => false,
            syn::FnArg::Typed(typed) => tuple_pattern(&typed.pat) || tuple_type(&typed.ty),
        };
        self.facts.functions.push(Function {
            name: signature.ident.to_string(),
            line: line_of(&signature.ident),
            body_lines: body.map_or(0, |block| {
                1 + block.brace_token.span.close().start().line - block.brace_token.span.open().start().line
            }),
            parameters: signature.inputs.len(),
            tuples: signature
                .inputs
                .iter()
                .filter(|i| is_tuple(i))
                .map(line_of)
                .collect(),
        });
    }

    fn import(&mut self, item: &syn::ItemUse, tree: &syn::UseTree, path: &[String]) {
        let with = |ident: &syn::Ident| [path, &[ident.to_string()]].concat();
        let (path, name, at) = match tree {
            syn::UseTree::Path(next) => return self.import(item, &next.tree, &with(&next.ident)),
            syn::UseTree::Group(group) => {
                return group.items.iter().for_each(|next| self.import(item, next, path));
            }
            syn::UseTree::Name(last) if last.ident == "self" => {
                (path.to_vec(), path.last().cloned(), line_of(last))
            }
            syn::UseTree::Name(last) => (with(&last.ident), Some(last.ident.to_string()), line_of(last)),
            syn::UseTree::Rename(last) if last.ident == "self" => {
                (path.to_vec(), Some(last.rename.to_string()), line_of(last))
            }
            syn::UseTree::Rename(last) => (with(&last.ident), Some(last.rename.to_string()), line_of(last)),
            syn::UseTree::Glob(star) => (path.to_vec(), Some("*".to_owned()), line_of(star)),
        };
        self.facts.imports.push(Import {
            inside: self.inside.clone(),
            path,
            name: name.unwrap_or_default(),
            line: at,
            is_export: !matches!(item.vis, syn::Visibility::Inherited),
            in_test: self.tests > 0 || is_test(&item.attrs),
        });
    }

    /// Macro calls keep their paths as loose words.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(word) if colons == 2 && !path.is_empty() => {
                    path.push(word.to_string());
                    colons = 0;
                }
                TokenTree::Punct(sign) if sign.as_char() == ':' => colons += 1,
                other => {
                    self.mention(std::mem::take(&mut path), line);
                    colons = 0;
                    match other {
                        TokenTree::Ident(word) => {
                            line = word.span().start().line;
                            path.push(word.to_string());
                        }
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        _ => {}
                    }
                }
            }
        }
        self.mention(path, line);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if self.functions == 0
            && let Some(name) = name_of(item)
        {
            self.facts.items.push((self.inside.clone(), name));
        }
        let is_test = attributes_of(item).is_some_and(is_test);
        self.tests += usize::from(is_test);
        visit::visit_item(self, item);
        self.tests -= usize::from(is_test);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.facts.modules.push(Module {
            inside: self.inside.clone(),
            name: item.ident.to_string(),
            line: line_of(&item.ident),
            is_test: self.tests > 0,
        });
        self.inside.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.inside.pop();
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, Some(&item.block));
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, Some(&item.block));
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig, item.default.as_ref());
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        self.functions += 1;
        visit::visit_block(self, block);
        self.functions -= 1;
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.type_definition(&item.ident, &item.attrs);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.type_definition(&item.ident, &item.attrs);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.type_definition(&item.ident, &item.attrs);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.type_definition(&item.ident, &item.attrs);
        visit::visit_item_type(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(item, &item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.mention(words, line_of(path));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        // The macro's own path says where it was exported from, which is always the crate's root.
        self.tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

fn line_of(spanned: &impl Spanned) -> usize {
    spanned.span().start().line
}

fn tuple_pattern(pattern: &syn::Pat) -> bool {
    match pattern {
        syn::Pat::Tuple(tuple) => tuple.elems.len() > 1,
        syn::Pat::Reference(reference) => tuple_pattern(&reference.pat),
        _ => false,
    }
}

fn tuple_type(kind: &syn::Type) -> bool {
    match kind {
        syn::Type::Tuple(tuple) => tuple.elems.len() > 1,
        syn::Type::Reference(reference) => tuple_type(&reference.elem),
        syn::Type::Paren(inner) => tuple_type(&inner.elem),
        _ => false,
    }
}

/// `#[test]`, `#[tokio::test]` and the like, or `#[cfg(test)]`.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let named_test = path.segments.last().is_some_and(|last| last.ident == "test");
        let configured = path.is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| {
                let condition = list.tokens.to_string();
                condition == "test" || condition.starts_with("all (test") || condition.starts_with("all(test")
            });
        named_test || configured
    })
}

fn attributes_of(item: &syn::Item) -> Option<&[syn::Attribute]> {
    Some(match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => return None,
    })
}

fn name_of(item: &syn::Item) -> Option<String> {
    Some(match item {
        syn::Item::Const(item) => item.ident.to_string(),
        syn::Item::Enum(item) => item.ident.to_string(),
        syn::Item::Fn(item) => item.sig.ident.to_string(),
        syn::Item::Static(item) => item.ident.to_string(),
        syn::Item::Struct(item) => item.ident.to_string(),
        syn::Item::Trait(item) => item.ident.to_string(),
        syn::Item::Type(item) => item.ident.to_string(),
        _ => return None,
    })
}
