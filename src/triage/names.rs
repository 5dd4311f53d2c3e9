//! How a condition names a value, and what its expressions are made of.

use cel::common::ast::operators::INDEX;
use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};

/// A selection, by a full stop or by `["name"]`.
pub(super) struct Selected<'a> {
    /// What is selected of.
    pub(super) of: &'a IdedExpr,
    pub(super) name: &'a str,
    /// The node where the name stands.
    pub(super) id: u64,
}

/// What an expression selects; `None` where it is no selection, or one of a computed name.
pub(super) fn selected(expression: &IdedExpr) -> Option<Selected<'_>> {
    match &expression.expr {
        Expr::Select(select) => {
            Some(Selected { of: &select.operand, name: &select.field, id: expression.id })
        }
        Expr::Call(call) if call.func_name == INDEX => {
            let [of, index] = call.args.as_slice() else { return None };
            let Expr::Literal(LiteralValue::String(name)) = &index.expr else { return None };
            Some(Selected { of, name: name.inner(), id: index.id })
        }
        _ => None,
    }
}

/// A name with what is selected of it, each with its node.
pub(super) fn path(expression: &IdedExpr) -> Option<Vec<(String, u64)>> {
    if let Expr::Ident(name) = &expression.expr {
        return Some(vec![(name.clone(), expression.id)]);
    }
    let selected = selected(expression)?;
    let mut path = path(selected.of)?;
    path.push((selected.name.to_owned(), selected.id));
    Some(path)
}

/// The parts of an expression that is no call and no macro.
pub(super) fn members(expression: &Expr) -> Vec<&IdedExpr> {
    match expression {
        Expr::Select(select) => vec![&*select.operand],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| of_entry(&entry.expr)).collect(),
        _ => vec![],
    }
}

fn of_entry(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
        EntryExpr::StructField(field) => vec![&field.value],
    }
}

/// What a macro evaluates for each element that it goes through.
pub(super) fn steps(inner: &ComprehensionExpr) -> [&IdedExpr; 4] {
    [&inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result]
}

/// The variables that hold within a macro.
pub(super) fn variables(inner: &ComprehensionExpr) -> impl Iterator<Item = String> {
    [&inner.iter_var, &inner.accu_var].into_iter().chain(&inner.iter_var2).cloned()
}
