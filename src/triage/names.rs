//! How a condition names a value.

use cel::common::ast::operators::INDEX;
use cel::common::ast::{Expr, IdedExpr, LiteralValue};

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
