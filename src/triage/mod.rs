//! How soon a study should be read, and where it goes because of what was found.
//!
//! Comes in: the rules and routes of the configuration, and [`Facts`] of a study. Goes out: a
//! [`Verdict`], with why each rule fired or not. Promises: every condition is compiled, and
//! every part of it tried, before the node starts, so none can name what does not exist, compare a
//! value with what it can never be, or fail on just the studies that it is for; one that fails on a
//! study all the same counts as not met, and the verdict names it; no state is kept. May use: `vocabulary`, `object`, `config`, `spool` (who sent), `radiograph` (age), `findings`.

mod condition;
mod facts;
mod names;
mod trial;
mod values;
mod verdict;

pub use condition::{Condition, ConditionError, Decision};
pub use facts::{Abnormal, Facts, SenderFacts, StudyFacts};
pub use verdict::{RuleVerdict, Send, Triage, Unasked, Verdict};
