//! Trying every part of a condition before a study comes: what stands behind `&&`, `||` or `?` is
//! evaluated on few studies, and must not fail on just those.

use cel::common::ast::operators::{CONDITIONAL, LOGICAL_AND, LOGICAL_NOT, LOGICAL_OR};
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr};
use cel::{Context, ExecutionError, Value};

use super::condition::{context, kind};
use super::facts::{Facts, FindingFacts, SenderFacts, StudyFacts};
use super::names::{members, steps, variables};
use crate::vocabulary::Priority;

/// A part that fails on every study, or gives what cannot stand there.
#[derive(Debug)]
pub(super) struct Failing {
    /// Its node.
    pub(super) id: u64,
    pub(super) message: String,
    pub(super) remedy: String,
}

/// Studies to try conditions on.
pub(super) struct Trial {
    studies: Vec<Context<'static, 'static>>,
    /// The variables of the macros around the part that is tried.
    bound: Vec<String>,
}

impl Trial {
    /// Studies of which nothing is known, and of which everything is positive, negative or
    /// uncertain.
    pub(super) fn new() -> Result<Self, String> {
        let finding = |state, score, laterality, severity| FindingFacts {
            state,
            score,
            confidence: score,
            laterality,
            severity,
            agrees: score > 0.5,
        };
        let studies = [
            (Facts::default(), Priority::Routine),
            (
                facts("CHEST PA 2 VIEWS", 3, &finding("positive", 1.0, "left", "severe")),
                Priority::Stat,
            ),
            (facts("12", 1, &finding("negative", 0.0, "", "")), Priority::Urgent),
            (facts("1.5", 2, &finding("uncertain", 0.5, "right", "small")), Priority::Routine),
        ];
        let studies = studies.iter().map(|(facts, priority)| context(&facts.values(*priority)));
        Ok(Self { studies: studies.collect::<Result<_, _>>()?, bound: vec![] })
    }

    /// Tries an expression that is to be true or false, its parts first.
    pub(super) fn condition(&mut self, expression: &IdedExpr) -> Result<(), Failing> {
        match &expression.expr {
            Expr::Call(CallExpr { func_name, args, .. })
                if [LOGICAL_AND, LOGICAL_OR, LOGICAL_NOT, CONDITIONAL]
                    .contains(&func_name.as_str()) =>
            {
                args.iter().try_for_each(|argument| self.condition(argument))?;
            }
            _ => self.parts(expression)?,
        }
        self.evaluate(expression, true)
    }

    fn value(&mut self, expression: &IdedExpr) -> Result<(), Failing> {
        if let Expr::Call(CallExpr { func_name, .. }) = &expression.expr
            && [LOGICAL_AND, LOGICAL_OR, LOGICAL_NOT].contains(&func_name.as_str())
        {
            return self.condition(expression);
        }
        self.parts(expression)?;
        self.evaluate(expression, false)
    }

    fn parts(&mut self, expression: &IdedExpr) -> Result<(), Failing> {
        match &expression.expr {
            Expr::Call(CallExpr { func_name, target, args }) => {
                target.iter().try_for_each(|target| self.value(target))?;
                let mut args = args.as_slice();
                if let (CONDITIONAL, [asked, rest @ ..]) = (func_name.as_str(), args) {
                    self.condition(asked)?;
                    args = rest;
                }
                args.iter().try_for_each(|argument| self.value(argument))
            }
            Expr::Comprehension(inner) => self.comprehension(inner),
            other => members(other).into_iter().try_for_each(|member| self.value(member)),
        }
    }

    fn comprehension(&mut self, inner: &ComprehensionExpr) -> Result<(), Failing> {
        self.value(&inner.iter_range)?;
        let before = self.bound.len();
        self.bound.extend(variables(inner));
        let tried = steps(inner).into_iter().try_for_each(|step| self.value(step));
        self.bound.truncate(before);
        tried
    }

    /// A failure that no study can mend counts at once; one that another value could, such as a
    /// text that is no number, when it comes with every study.
    fn evaluate(&self, expression: &IdedExpr, to_be_true: bool) -> Result<(), Failing> {
        let failing = |message, remedy: &str| Failing {
            id: expression.id,
            message,
            remedy: remedy.to_owned(),
        };
        let mut first = None;
        let mut evaluated = false;
        for study in &self.studies {
            match Value::resolve(expression, study) {
                Ok(value) if to_be_true && !matches!(value, Value::Bool(_)) => {
                    let message = format!("this gives {}, not true or false", kind(&value));
                    return Err(failing(message, "compare it with something"));
                }
                Ok(_) => evaluated = true,
                // It has a value in its macro only, which is tried as a whole.
                Err(ExecutionError::UndeclaredReference(name)) if self.is_bound(&name) => {
                    return Ok(());
                }
                Err(error) if is_by_chance(&error) => evaluated = true,
                Err(error @ ExecutionError::FunctionError { .. }) => first = first.or(Some(error)),
                Err(error) => return Err(failing(one_line(&error), remedy(&error))),
            }
        }
        match first {
            Some(error) if !evaluated => Err(failing(one_line(&error), remedy(&error))),
            _ => Ok(()),
        }
    }

    fn is_bound(&self, name: &str) -> bool {
        self.bound.iter().any(|bound| bound == name)
    }
}

/// Whether a part fails for a number or a name that another study does not have.
fn is_by_chance(error: &ExecutionError) -> bool {
    matches!(
        error,
        ExecutionError::NoSuchKey(_)
            | ExecutionError::IndexOutOfBounds(_)
            | ExecutionError::DivisionByZero(_)
            | ExecutionError::RemainderByZero(_)
            | ExecutionError::Overflow(..)
    )
}

/// A study whose texts, findings and number of images are all alike.
fn facts(text: &str, images: usize, finding: &FindingFacts) -> Facts {
    let text = || text.to_owned();
    let study = StudyFacts {
        modality: text(),
        body_part: text(),
        view: text(),
        description: text(),
        series_description: text(),
        protocol: text(),
        station: text(),
        institution: text(),
        department: text(),
        manufacturer: text(),
        patient_sex: text(),
        patient_age: 60.0,
        uid: text(),
        images,
        drafted: finding.state == "positive",
        reason: text(),
    };
    let sender = SenderFacts { ae_title: text(), called: text(), address: text() };
    let mut facts = Facts { study, sender, ..Facts::default() };
    facts.findings.values_mut().for_each(|own| own.clone_from(finding));
    facts
}

fn one_line(error: &ExecutionError) -> String {
    error.to_string().lines().next().unwrap_or_default().trim_end_matches(':').to_owned()
}

fn remedy(error: &ExecutionError) -> &'static str {
    match error {
        ExecutionError::FunctionError { .. } => "give the function what it can read",
        ExecutionError::UndeclaredReference(_) => {
            "take a function of CEL, such as contains, startsWith, matches or size"
        }
        _ => {
            "compare numbers with numbers and texts with texts, and reckon with numbers of one kind: \
             study.images with 1u, ages and scores with 1.0"
        }
    }
}
