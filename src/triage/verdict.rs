//! The rules and routes of a configuration, and what they make of a study.

use serde::Serialize;

use super::condition::{Condition, Decision};
use super::facts::Facts;
use crate::config::{Config, ConfigErrors, Problem, Receives};
use crate::vocabulary::Priority;

/// The rules and routes, ready to be asked.
#[derive(Debug, Default)]
pub struct Triage {
    rules: Vec<Rule>,
    routes: Vec<Route>,
}

#[derive(Debug)]
struct Rule {
    name: String,
    condition: Condition,
    priority: Priority,
}

#[derive(Debug)]
struct Route {
    name: String,
    condition: Condition,
    to: Vec<String>,
    send: Vec<Receives>,
}

/// What triage makes of a study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How soon it should be read.
    pub priority: Priority,
    /// Each rule, in the order of the configuration.
    pub rules: Vec<RuleVerdict>,
    /// What goes where because of a route.
    pub sends: Vec<Send>,
    /// Rules and routes whose conditions could not be evaluated, and count as not met.
    pub unasked: Vec<Unasked>,
}

/// A rule or a route whose condition could not be evaluated on a study.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unasked {
    /// `rule` or `route`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Why; it may hold what the study says.
    pub why: String,
}

/// Whether a rule fired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleVerdict {
    /// The rule's name.
    pub name: String,
    /// Whether its condition is met.
    pub matched: bool,
    /// The values that it saw, or why it could not be asked.
    pub why: String,
}

/// What a route sends to one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// The route's name.
    pub route: String,
    /// The destination's name.
    pub destination: String,
    /// What it gets.
    pub objects: Vec<Receives>,
    /// The values that the route's condition saw.
    pub why: String,
}

impl Triage {
    /// Compiles every condition.
    ///
    /// # Errors
    /// Every condition that is wrong, at once, with its place in the file.
    pub fn new(config: &Config) -> Result<Self, ConfigErrors> {
        let mut problems = Vec::new();
        let mut compile = |key: &str, when: &crate::config::When| {
            let compiled = Condition::compile(&when.text);
            compiled.map_err(|error| {
                let message = if error.at > 0 {
                    format!("{}, at character {}", error.message, error.at)
                } else {
                    error.message
                };
                problems.push(Problem {
                    place: when.place_at(error.at),
                    key: key.to_owned(),
                    message,
                    remedy: error.remedy,
                });
            })
        };
        let mut triage = Self::default();
        for rule in &config.rules {
            if let Ok(condition) = compile("rule.when", &rule.when) {
                let (name, priority) = (rule.name.clone(), rule.priority);
                triage.rules.push(Rule { name, condition, priority });
            }
        }
        for route in &config.routes {
            if let Ok(condition) = compile("route.when", &route.when) {
                let (name, to) = (route.name.clone(), route.to.clone());
                triage.routes.push(Route { name, condition, to, send: route.send.clone() });
            }
        }
        ConfigErrors::of(problems).map_or(Ok(triage), Err)
    }

    /// How many rules and routes there are.
    pub fn sizes(&self) -> (usize, usize) {
        (self.rules.len(), self.routes.len())
    }

    /// Asks every rule, then every route. A rule sees the priority that the rules before it gave;
    /// the highest holds, and without any the study is routine.
    pub fn judge(&self, facts: &Facts) -> Verdict {
        let mut priority = Priority::Routine;
        let (mut rules, mut unasked) = (Vec::new(), Vec::new());
        let mut note = |kind, name: &str, decision: &Decision| {
            if decision.failed {
                let (name, why) = (name.to_owned(), decision.why.clone());
                unasked.push(Unasked { kind, name, why });
            }
        };
        for rule in &self.rules {
            let decision = rule.condition.ask(facts, priority);
            note("rule", &rule.name, &decision);
            if decision.met {
                priority = priority.max(rule.priority);
            }
            let name = rule.name.clone();
            rules.push(RuleVerdict { name, matched: decision.met, why: decision.why });
        }
        let mut sends = Vec::new();
        for route in &self.routes {
            let decision = route.condition.ask(facts, priority);
            note("route", &route.name, &decision);
            if decision.met {
                sends.extend(route.to.iter().map(|destination| Send {
                    route: route.name.clone(),
                    destination: destination.clone(),
                    objects: route.send.clone(),
                    why: decision.why.clone(),
                }));
            }
        }
        Verdict { priority, rules, sends, unasked }
    }
}
