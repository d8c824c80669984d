//! Puts many mutants of one source file into it at once, each behind a condition, so that one build holds them all.
//!
//! `schemata FILE < mutants.json` reads what `cargo mutants --list --json` says of the file, each mutant with a number `id`
//! beside it, and prints `{"source": …, "ids": […], "constant": […]}`: the file with the mutants that can be switched on at run
//! time. The others (in constant expressions, in macros) must be built one by one, and so those of constant functions that are
//! not caught: what the compiler computes with them is not mutated.
//!
//! A condition is asked at the mutant's own place: `a + b` becomes a match whose arms are the mutants of this `+`, and the last
//! one the original.

use std::collections::HashMap;
use std::io::Read;

use proc_macro2::Span;
use serde_json::Value;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Block, Expr, UnOp};

struct Mutant {
    id: u64,
    genre: String,
    name: String,
    replacement: String,
}

/// A change of a part of the source; what stands inside is rendered with its own changes.
struct Edit {
    start: usize,
    end: usize,
    what: What,
}

enum What {
    /// Nothing is replaced, the text is put in at `start`.
    Insert(String),
    Compare {
        left: (usize, usize),
        right: (usize, usize),
        op: String,
        mutants: Vec<(u64, String)>,
    },
    Compute {
        left: (usize, usize),
        right: (usize, usize),
        op: String,
        mutants: Vec<(u64, String)>,
    },
    Assign {
        left: (usize, usize),
        right: (usize, usize),
        op: String,
        mutants: Vec<(u64, String)>,
    },
    /// `&&` or `||`, which have one mutant, the other one.
    Short {
        left: (usize, usize),
        right: (usize, usize),
        and: bool,
        id: u64,
    },
    Unary {
        operand: (usize, usize),
        op: &'static str,
        id: u64,
    },
    /// A guard of a match arm: the mutants that make it true, and those that make it false.
    Guard {
        to_true: Vec<u64>,
        to_false: Vec<u64>,
    },
}

struct Finder<'a> {
    /// By line and column of the start, from 1.
    mutants: &'a HashMap<(usize, usize), Vec<Mutant>>,
    edits: Vec<Edit>,
    /// How many constant expressions enclose the present place.
    constant: u32,
    /// How many constant functions.
    functions: u32,
    /// The mutants in them.
    in_constant: Vec<u64>,
    source: &'a str,
}

fn range(span: Span) -> (usize, usize) {
    let range = span.byte_range();
    (range.start, range.end)
}

fn key(span: Span) -> (usize, usize) {
    (span.start().line, span.start().column + 1)
}

impl<'a> Finder<'a> {
    fn at(&mut self, span: Span, genre: &str) -> Vec<&'a Mutant> {
        let found = self.mutants.get(&key(span));
        let found: Vec<&Mutant> = found.into_iter().flatten().filter(|mutant| mutant.genre == genre).collect();
        if self.functions > 0 {
            self.in_constant.extend(found.iter().map(|mutant| mutant.id));
        }
        found
    }

    fn push(&mut self, (start, end): (usize, usize), what: What) {
        if self.constant == 0 {
            self.edits.push(Edit { start, end, what });
        }
    }

    fn function(&mut self, constant: bool, block: &Block) {
        self.functions += u32::from(constant);
        if let Some(first) = block.stmts.first() {
            let body = range(block.brace_token.span.open()).1;
            let returns: String = self
                .at(first.span(), "FnValue")
                .iter()
                .map(|mutant| format!("\nif crate::mutant_::is({}) {{ return {}; }}\n", mutant.id, mutant.replacement))
                .collect();
            if !returns.is_empty() {
                self.push((body, body), What::Insert(returns));
            }
        }
        self.visit_block(block);
        self.functions -= u32::from(constant);
    }

    fn inside(&mut self, visit: impl FnOnce(&mut Self)) {
        self.constant += 1;
        visit(self);
        self.constant -= 1;
    }
}

fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) if matches!(binary.op, BinOp::And(_)) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(item.sig.constness.is_some(), &item.block);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(item.sig.constness.is_some(), &item.block);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(item.sig.constness.is_some(), block);
        }
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.inside(|finder| visit::visit_item_const(finder, item));
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.inside(|finder| visit::visit_impl_item_const(finder, item));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.inside(|finder| visit::visit_item_static(finder, item));
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.inside(|finder| visit::visit_item_enum(finder, item));
    }

    fn visit_expr_const(&mut self, expr: &'ast syn::ExprConst) {
        self.inside(|finder| visit::visit_expr_const(finder, expr));
    }

    fn visit_type(&mut self, item: &'ast syn::Type) {
        self.inside(|finder| visit::visit_type(finder, item));
    }

    fn visit_pat(&mut self, item: &'ast syn::Pat) {
        self.inside(|finder| visit::visit_pat(finder, item));
    }

    fn visit_expr_repeat(&mut self, expr: &'ast syn::ExprRepeat) {
        self.visit_expr(&expr.expr);
        self.inside(|finder| finder.visit_expr(&expr.len));
    }

    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        let mutants: Vec<(u64, String)> = self
            .at(expr.op.span(), "BinaryOperator")
            .iter()
            .map(|mutant| (mutant.id, mutant.replacement.clone()))
            .collect();
        if !mutants.is_empty() && !has_let(&expr.left) && !has_let(&expr.right) {
            let (left, right) = (range(expr.left.span()), range(expr.right.span()));
            let (start, end) = range(expr.op.span());
            let op = self.source[start..end].to_owned();
            let what = match op.as_str() {
                "&&" | "||" => What::Short { left, right, and: op == "&&", id: mutants[0].0 },
                "==" | "!=" | "<" | ">" | "<=" | ">=" => What::Compare { left, right, op, mutants },
                _ if op.ends_with('=') => What::Assign { left, right, op, mutants },
                _ => What::Compute { left, right, op, mutants },
            };
            self.push((left.0, right.1), what);
        }
        visit::visit_expr_binary(self, expr);
    }

    fn visit_expr_unary(&mut self, expr: &'ast syn::ExprUnary) {
        let op = match expr.op {
            UnOp::Not(_) => "!",
            UnOp::Neg(_) => "-",
            _ => "",
        };
        let id = self.at(expr.op.span(), "UnaryOperator").first().map(|mutant| mutant.id);
        if let (Some(id), false) = (id, op.is_empty()) {
            let operand = range(expr.expr.span());
            self.push((range(expr.op.span()).0, operand.1), What::Unary { operand, op, id });
        }
        visit::visit_expr_unary(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let ids = |mutants: Vec<&Mutant>| mutants.into_iter().map(|mutant| mutant.id).collect::<Vec<_>>();
        let deleted = ids(self.at(arm.span(), "MatchArm"));
        match &arm.guard {
            Some((_, guard)) if !has_let(guard) => {
                let guards = self.at(guard.span(), "MatchArmGuard");
                let (yes, no): (Vec<_>, Vec<_>) = guards.into_iter().partition(|mutant| mutant.replacement == "true");
                let (to_true, to_false) = (ids(yes), [ids(no), deleted].concat());
                if to_true.len() + to_false.len() > 0 {
                    self.push(range(guard.span()), What::Guard { to_true, to_false });
                }
            }
            Some(_) => {}
            None => {
                for id in deleted {
                    let end = range(arm.pat.span()).1;
                    self.push((end, end), What::Insert(format!("\nif !crate::mutant_::is({id})\n")));
                }
            }
        }
        visit::visit_arm(self, arm);
    }
}

/// Renders a part of the source with the changes inside it, but not one of exactly this number.
fn render(source: &str, edits: &[Edit], (start, end): (usize, usize), except: Option<usize>) -> String {
    let mut text = String::new();
    let mut at = start;
    // The widest first: `edits` is in the order of a walk from the outside in.
    let mut number = 0;
    while number < edits.len() {
        let edit = &edits[number];
        let inside = edit.start >= at && edit.end <= end && except.is_none_or(|except| number > except);
        if inside {
            text += &source[at..edit.start];
            text += &replaced(source, edits, number);
            at = edit.end;
        }
        number += 1;
    }
    text + &source[at..end]
}

fn replaced(source: &str, edits: &[Edit], number: usize) -> String {
    let edit = &edits[number];
    let part = |range: (usize, usize)| render(source, edits, range, Some(number));
    let arms = |mutants: &[(u64, String)], arm: &dyn Fn(&str) -> String| -> String {
        mutants.iter().map(|(id, op)| format!("if crate::mutant_::is({id}) {{ {} }} else ", arm(op))).collect()
    };
    let text = match &edit.what {
        What::Insert(text) => return text.clone(),
        What::Compare { left, right, op, mutants } => {
            let arms = arms(mutants, &|op| format!("*l_ {op} *r_"));
            format!("(match (&({}), &({})) {{ (l_, r_) => {arms} {{ *l_ {op} *r_ }} }})", part(*left), part(*right))
        }
        What::Compute { left, right, op, mutants } => {
            let arms = arms(mutants, &|op| format!("l_ {op} r_"));
            format!("(match ({}, {}) {{ (l_, r_) => {arms} {{ l_ {op} r_ }} }})", part(*left), part(*right))
        }
        What::Assign { left, right, op, mutants } => {
            let left = part(*left);
            let arms = arms(mutants, &|op| format!("{left} {op} r_"));
            format!("match {} {{ r_ => {arms} {{ {left} {op} r_ }} }}", part(*right))
        }
        What::Short { left, right, and, id } => {
            let goes_on = if *and { "!=" } else { "==" };
            format!(
                "(match {} {{ l_ => if l_ {goes_on} crate::mutant_::is({id}) {{ {} }} else {{ l_ }} }})",
                part(*left),
                part(*right)
            )
        }
        What::Unary { operand, op, id } => {
            format!("(match {} {{ o_ => if crate::mutant_::is({id}) {{ o_ }} else {{ {op}o_ }} }})", part(*operand))
        }
        What::Guard { to_true, to_false } => {
            let yes: String = to_true.iter().map(|id| format!(" || crate::mutant_::is({id})")).collect();
            let no: String = to_false.iter().map(|id| format!(" && !crate::mutant_::is({id})")).collect();
            format!("(({}){yes}){no}", part((edit.start, edit.end)))
        }
    };
    // On lines of its own, so that a compiler's error leads to the mutant.
    format!("\n{text}\n")
}

fn main() {
    let path = std::env::args().nth(1).expect("schemata FILE < mutants.json");
    let source = std::fs::read_to_string(&path).expect("a source file");
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).expect("mutants");
    let list: Vec<Value> = serde_json::from_str(&input).expect("JSON");
    let mut mutants: HashMap<(usize, usize), Vec<Mutant>> = HashMap::new();
    for entry in &list {
        let number = |what: &str| entry["span"]["start"][what].as_u64().expect("a number") as usize;
        let text = |what: &str| entry[what].as_str().unwrap_or_default().to_owned();
        mutants.entry((number("line"), number("column"))).or_default().push(Mutant {
            id: entry["id"].as_u64().expect("an id"),
            genre: text("genre"),
            name: text("name"),
            replacement: text("replacement"),
        });
    }
    let file = syn::parse_file(&source).expect("Rust");
    let mut finder = Finder {
        mutants: &mutants,
        edits: Vec::new(),
        constant: 0,
        functions: 0,
        in_constant: Vec::new(),
        source: &source,
    };
    finder.visit_file(&file);
    let mut edits = finder.edits;
    // From the outside in; of two at one place the wider one first.
    edits.sort_by_key(|edit| (edit.start, std::cmp::Reverse(edit.end)));
    let text = render(&source, &edits, (0, source.len()), None);
    let ids: Vec<u64> = mutants
        .values()
        .flatten()
        .filter(|mutant| text.contains(&format!("mutant_::is({})", mutant.id)))
        .map(|mutant| mutant.id)
        .collect();
    let left: Vec<&str> = mutants
        .values()
        .flatten()
        .filter(|mutant| !ids.contains(&mutant.id))
        .map(|mutant| mutant.name.as_str())
        .collect();
    println!("{}", serde_json::json!({ "source": text, "ids": ids, "constant": finder.in_constant, "left": left }));
}
