//! A condition: an expression of CEL, the Common Expression Language (<https://cel.dev>), over
//! `study`, `findings`, `priority` and `sender`.

use cel::common::ast::{CallExpr, Expr, IdedExpr};
use cel::{Context, Program, Value};
use serde_json::Value as Json;

use super::facts::Facts;
use super::names::{members, path, steps, variables};
use super::trial::Trial;
use super::values::{Kind, impossible, mismatched};
use crate::vocabulary::Priority;

/// Longer conditions are refused.
const LONGEST: usize = 4096;

/// A condition that can be asked.
#[derive(Debug)]
pub struct Condition {
    program: Program,
    /// The values that it looks at, as paths.
    paths: Vec<String>,
}

/// What is wrong with a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionError {
    /// Where, in characters from the condition's start; 0 where that is not known.
    pub at: usize,
    /// What.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is met.
    pub met: bool,
    /// Whether it could not be evaluated on this study: then it is not met.
    pub failed: bool,
    /// The values that it saw, or why it could not be asked.
    pub why: String,
}

impl Condition {
    /// Compiles a condition and tries all of its parts on studies of several kinds.
    pub fn compile(text: &str) -> Result<Self, ConditionError> {
        if text.len() > LONGEST {
            let message = format!("the condition is longer than {LONGEST} bytes");
            return Err(ConditionError::new(0, message, "write several rules"));
        }
        let program = Program::compile(text).map_err(|errors| syntax(&errors, text))?;
        let values = Facts::default().values(Priority::Routine);
        let mut names = Names { program: &program, values: &values, bound: vec![], paths: vec![] };
        names.check(program.expression())?;
        let failed = |reason| ConditionError::new(0, reason, "report this as a defect");
        let mut trial = Trial::new().map_err(failed)?;
        if let Err(failing) = trial.condition(program.expression()) {
            let place = names.place_of_name(failing.id);
            return Err(ConditionError::new(place, failing.message, failing.remedy));
        }
        let paths = names.paths;
        let condition = Self { program, paths };
        condition.execute(&values).map_err(|reason| {
            let message = format!("it fails on a study of which nothing is known: {reason}");
            let remedy = "ask before whether there is a value, as in study.station != \"\" && ...";
            ConditionError::new(0, message, remedy)
        })?;
        Ok(condition)
    }

    /// Asks it about a study.
    pub fn ask(&self, facts: &Facts, priority: Priority) -> Decision {
        let values = facts.values(priority);
        match self.execute(&values) {
            Ok(Value::Bool(met)) => Decision { met, failed: false, why: self.seen(&values) },
            Ok(other) => {
                let why = format!("it gave {}, not true or false", kind(&other));
                Decision { met: false, failed: true, why }
            }
            Err(reason) => {
                Decision { met: false, failed: true, why: format!("it failed: {reason}") }
            }
        }
    }

    fn execute(&self, values: &Json) -> Result<Value, String> {
        self.program.execute(&context(values)?).map_err(|error| error.to_string())
    }

    /// The values that the condition looks at.
    fn seen(&self, values: &Json) -> String {
        let one = |path: &String| {
            let value = look(values, path.split('.'))?;
            let value = value.as_f64().filter(|_| value.is_f64()).map_or_else(
                || value.to_string(),
                |number| format!("{}", (number * 1e4).round() / 1e4),
            );
            Some(format!("{path} = {value}"))
        };
        let seen: Vec<String> = self.paths.iter().filter_map(one).collect();
        if seen.is_empty() { "it looks at nothing".to_owned() } else { seen.join(", ") }
    }
}

impl ConditionError {
    fn new(at: usize, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { at, message: message.into(), remedy: remedy.into() }
    }
}

/// The first syntax error, with its place in characters from 1.
fn syntax(errors: &cel::ParseErrors, text: &str) -> ConditionError {
    let remedy = "write for example findings.pneumothorax.score > 0.5 && study.modality == \"DX\"";
    let Some(first) = errors.errors.first() else {
        return ConditionError::new(0, "this is no condition", remedy);
    };
    let (line, column) = first.pos;
    let lines = text.split_inclusive('\n').take(usize::try_from(line - 1).unwrap_or(0));
    let before: usize = lines.map(|line| line.chars().count()).sum();
    let at = before + usize::try_from(column).unwrap_or(0).max(1);
    let message = first.msg.lines().next().unwrap_or_default();
    ConditionError::new(at, format!("this is no condition: {message}"), remedy)
}

/// Checks that every name exists, also those that trying the condition would not come to.
struct Names<'a> {
    program: &'a Program,
    values: &'a Json,
    /// The variables of the macros around.
    bound: Vec<String>,
    paths: Vec<String>,
}

impl Names<'_> {
    fn check(&mut self, expression: &IdedExpr) -> Result<(), ConditionError> {
        if let Some(path) = path(expression) {
            return self.path(&path);
        }
        match &expression.expr {
            Expr::Call(call @ CallExpr { target, args, .. }) => {
                let kind = |value: &IdedExpr| self.kind(value);
                if let Some(wrong) = impossible(call).or_else(|| mismatched(call, &kind)) {
                    let place = self.place_of_name(wrong.id);
                    return Err(ConditionError::new(place, wrong.message, wrong.remedy));
                }
                target.iter().try_for_each(|target| self.check(target))?;
                args.iter().try_for_each(|argument| self.check(argument))
            }
            Expr::Comprehension(inner) => {
                self.check(&inner.iter_range)?;
                let before = self.bound.len();
                self.bound.extend(variables(inner));
                let checked = steps(inner).into_iter().try_for_each(|step| self.check(step));
                self.bound.truncate(before);
                checked
            }
            other => members(other).into_iter().try_for_each(|member| self.check(member)),
        }
    }

    /// A name and what is selected of it.
    fn path(&mut self, path: &[(String, u64)]) -> Result<(), ConditionError> {
        let Some((root, _)) = path.first() else { return Ok(()) };
        if self.bound.contains(root) {
            return Ok(());
        }
        let mut at = self.values;
        for (depth, (name, id)) in path.iter().enumerate() {
            let Some(next) = at.get(name) else {
                return Err(self.unknown(at, path.get(..depth).unwrap_or_default(), name, *id));
            };
            at = next;
        }
        let path = path.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(".");
        if !at.is_object() && !self.paths.contains(&path) {
            self.paths.push(path);
        }
        Ok(())
    }

    /// What kind of value an expression gives, where that is plain.
    fn kind(&self, expression: &IdedExpr) -> Option<Kind> {
        let path = path(expression)
            .filter(|path| path.first().is_some_and(|(root, _)| !self.bound.contains(root)));
        match path {
            Some(path) => {
                look(self.values, path.iter().map(|(name, _)| name.as_str())).map(Kind::of)
            }
            None => Kind::of_part(expression),
        }
    }

    /// Where a node stands, in characters from 1; of a selection, where its name does.
    fn place_of_name(&self, id: u64) -> usize {
        let place = self.place(id);
        // A selection's place is its full stop.
        let stop = self.program.source_info().source.chars().nth(place - 1) == Some('.');
        place + usize::from(stop)
    }

    /// Where a node stands, in characters from 1.
    fn place(&self, id: u64) -> usize {
        let offset = self.program.source_info().offset_for(id).map_or(0, |(start, _)| start);
        usize::try_from(offset).unwrap_or(0) + 1
    }

    fn unknown(&self, at: &Json, before: &[(String, u64)], name: &str, id: u64) -> ConditionError {
        let place = self.place_of_name(id);
        let before = before.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(".");
        let known: Vec<&str> =
            at.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let message = match (before.is_empty(), known.is_empty()) {
            (true, _) => format!("{name:?} is unknown"),
            (false, true) => format!("{before} has no parts, so no {name:?}"),
            (false, false) => format!("{before} has no {name:?}"),
        };
        let nearest = known
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
        let remedy = match nearest {
            Some(nearest) if strsim::jaro_winkler(nearest, name) >= 0.75 => {
                format!("write {nearest}")
            }
            Some(_) => format!("known are {}", known.join(", ")),
            None => format!("remove .{name}"),
        };
        ConditionError::new(place, message, remedy)
    }
}

/// The value at a path.
fn look<'a>(values: &'a Json, path: impl Iterator<Item = &'a str>) -> Option<&'a Json> {
    path.into_iter().try_fold(values, |at, name| at.get(name))
}

/// A study's values as what conditions may name.
pub(super) fn context(values: &Json) -> Result<Context<'static, 'static>, String> {
    let mut context = Context::default();
    for (name, value) in values.as_object().into_iter().flatten() {
        context.add_variable(name.as_str(), value).map_err(|error| error.to_string())?;
    }
    Ok(context)
}

/// A value's type, in words.
pub(super) fn kind(value: &Value) -> String {
    format!("a value of type {}", value.type_of())
}
