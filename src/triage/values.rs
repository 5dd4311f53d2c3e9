//! What the values of a condition can be: a comparison with anything else would never be met, or
//! always, and nobody would be told.

use cel::common::ast::operators::{
    EQUALS, GREATER, GREATER_EQUALS, IN, LESS, LESS_EQUALS, NOT_EQUALS,
};
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};

use serde_json::Value as Json;

use super::names::{path, selected};

/// The parts of a finding, and the priority, that are one of a few words.
const WORDS: [(&str, &[&str]); 4] = [
    ("state", &["positive", "uncertain", "negative", "absent"]),
    ("laterality", &["left", "right", "bilateral", ""]),
    ("severity", &["minimal", "small", "mild", "moderate", "large", "severe", ""]),
    ("priority", &["routine", "urgent", "stat"]),
];

/// The parts of a finding that are probabilities.
const PROBABILITIES: [&str; 2] = ["score", "confidence"];

/// A literal that the value it is compared with can never be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Impossible {
    /// The literal's node.
    pub(super) id: u64,
    pub(super) message: String,
    pub(super) remedy: String,
}

/// The first literal of a comparison that the value beside it can never be.
pub(super) fn impossible(call: &CallExpr) -> Option<Impossible> {
    let [left, right] = call.args.as_slice() else { return None };
    match call.func_name.as_str() {
        EQUALS | NOT_EQUALS | LESS | LESS_EQUALS | GREATER | GREATER_EQUALS => {
            literal(left, right).or_else(|| literal(right, left))
        }
        IN => match &right.expr {
            Expr::List(list) => list.elements.iter().find_map(|one| literal(left, one)),
            _ => None,
        },
        _ => None,
    }
}

/// What kind of value something is; those of different kinds are never equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    /// True or false.
    Truth,
    /// What has parts, such as a finding.
    Parts,
    Other,
}

impl Kind {
    /// Of a value of the facts.
    pub(super) fn of(value: &Json) -> Self {
        match value {
            Json::String(_) => Self::Text,
            Json::Number(_) => Self::Number,
            Json::Bool(_) => Self::Truth,
            Json::Object(_) => Self::Parts,
            Json::Null | Json::Array(_) => Self::Other,
        }
    }

    /// Of a literal, or of a finding's part where which finding is computed.
    pub(super) fn of_part(expression: &IdedExpr) -> Option<Self> {
        if let Expr::Literal(literal) = &expression.expr {
            return Some(match literal {
                LiteralValue::String(_) => Self::Text,
                LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => {
                    Self::Number
                }
                LiteralValue::Boolean(_) => Self::Truth,
                LiteralValue::Bytes(_) => Self::Other,
                // Whether there is a value may be asked of any.
                LiteralValue::Null => return None,
            });
        }
        match selected(expression)?.name {
            "state" | "laterality" | "severity" => Some(Self::Text),
            name if PROBABILITIES.contains(&name) => Some(Self::Number),
            "agrees" => Some(Self::Truth),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Truth => "true or false",
            Self::Parts => "something with parts",
            Self::Other => "something else",
        }
    }
}

/// The first two values of a comparison that are not of one kind.
pub(super) fn mismatched(
    call: &CallExpr,
    kind: &dyn Fn(&IdedExpr) -> Option<Kind>,
) -> Option<Impossible> {
    let [left, right] = call.args.as_slice() else { return None };
    let unlike = |left: &IdedExpr, right: &IdedExpr| {
        // A literal is what is wrong, where there is one.
        let swapped = matches!(left.expr, Expr::Literal(_));
        let (value, with) = if swapped { (right, left) } else { (left, right) };
        let (is, against) = (kind(value)?, kind(with)?);
        (is != against).then(|| Impossible {
            id: with.id,
            message: format!("{} is {}, and this is {}", named(value), is.name(), against.name()),
            remedy: remedy(value, is, with),
        })
    };
    match call.func_name.as_str() {
        EQUALS | NOT_EQUALS | LESS | LESS_EQUALS | GREATER | GREATER_EQUALS => unlike(left, right),
        IN => match &right.expr {
            Expr::List(list) => list.elements.iter().find_map(|one| unlike(left, one)),
            _ => None,
        },
        _ => None,
    }
}

fn remedy(value: &IdedExpr, is: Kind, with: &IdedExpr) -> String {
    let name = named(value);
    match (is, &with.expr) {
        (Kind::Number, Expr::Literal(LiteralValue::String(text)))
            if text.inner().trim().parse::<f64>().is_ok() =>
        {
            format!("write {}", text.inner().trim())
        }
        (Kind::Text, Expr::Literal(literal)) => match number(literal) {
            Some(number) => format!("write \"{number}\""),
            None => format!("compare it with {}", is.name()),
        },
        (Kind::Truth, _) => format!("write {name} or !{name} alone"),
        (Kind::Parts, _) => "name a part of it, as in findings.edema.state".to_owned(),
        _ => format!("compare it with {}", is.name()),
    }
}

/// What a value is called in the condition.
fn named(value: &IdedExpr) -> String {
    match (path(value), selected(value)) {
        (Some(path), _) => path.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join("."),
        (None, Some(selected)) => selected.name.to_owned(),
        (None, None) => "the value before".to_owned(),
    }
}

fn literal(value: &IdedExpr, literal: &IdedExpr) -> Option<Impossible> {
    let (name, Expr::Literal(with)) = (part(value)?, &literal.expr) else { return None };
    let wrong = |message, remedy| Some(Impossible { id: literal.id, message, remedy });
    if let LiteralValue::String(text) = with {
        let (_, words) = WORDS.iter().find(|(known, _)| *known == name)?;
        let text = text.inner();
        if words.contains(&text) {
            return None;
        }
        let known = words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        return wrong(format!("{name} is never {text:?}"), format!("it is one of {known}"));
    }
    let number = number(with).filter(|_| PROBABILITIES.contains(&name))?;
    if (0.0..=1.0).contains(&number) {
        return None;
    }
    wrong(format!("{name} is never {number}"), "it is a probability, from 0 to 1".to_owned())
}

fn number(literal: &LiteralValue) -> Option<f64> {
    match literal {
        LiteralValue::Double(value) => Some(*value.inner()),
        LiteralValue::Int(value) => Some(*value.inner() as f64),
        LiteralValue::UInt(value) => Some(*value.inner() as f64),
        _ => None,
    }
}

/// The name of what is compared: the one that is selected last.
fn part(expression: &IdedExpr) -> Option<&str> {
    match &expression.expr {
        Expr::Ident(name) if name == "priority" => Some(name),
        _ => Some(selected(expression)?.name),
    }
}

#[cfg(test)]
mod tests {
    use super::WORDS;
    use crate::findings::{Laterality, Severity, State};
    use crate::vocabulary::Priority;

    #[test]
    fn every_word_that_a_value_can_be_is_known() {
        let known = |name, word: &str| WORDS.iter().any(|(n, w)| *n == name && w.contains(&word));
        assert!(State::ALL.iter().all(|state| known("state", state.name())));
        let sides = [Laterality::Left, Laterality::Right, Laterality::Bilateral];
        assert!(sides.iter().all(|side| known("laterality", side.name())));
        let least = [Severity::Minimal, Severity::Small, Severity::Mild];
        let most = [Severity::Moderate, Severity::Large, Severity::Severe];
        assert!(least.iter().chain(&most).all(|severity| known("severity", severity.name())));
        let all = [Priority::Routine, Priority::Urgent, Priority::Stat];
        assert!(all.iter().all(|priority| known("priority", &priority.to_string())));
    }
}
