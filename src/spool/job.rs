//! The states of jobs and deliveries, and how they are read from the database.

use std::fmt::Display;
use std::str::FromStr;

use rusqlite::Row;
use rusqlite::types::Type;

use crate::vocabulary::{Priority, SopClass, TransferSyntax};

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        pub enum $name {
            $($(#[$each])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word in the job store, on the command line and in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    other => Err(format!(
                        concat!("{:?} is not one of", $(" ", $text,)*),
                        other
                    )),
                }
            }
        }
    };
}

states!(
    /// Where a job stands.
    JobState {
        /// Its objects are kept; it waits for completion, or for its draft.
        Received = "received",
        /// The draft is kept; deliveries may be under way. The end, when there is no destination.
        Drafted = "drafted",
        /// Every destination has what it should get.
        Delivered = "delivered",
        /// No draft is made, for a reason.
        Skipped = "skipped",
        /// Drafting or a delivery was given up; `queue retry` tries again.
        Failed = "failed",
        /// A newer version was drafted before this one was sent.
        Superseded = "superseded",
        /// Its images changed nothing: the version before stands. Not listed.
        Merged = "merged",
    }
);

states!(
    /// Where a delivery stands.
    DeliveryState {
        /// To be sent, now or later.
        Waiting = "waiting",
        /// The destination acknowledged it.
        Sent = "sent",
        /// The destination committed to keep it.
        Committed = "committed",
        /// Given up.
        Failed = "failed",
        /// A newer version goes instead.
        Superseded = "superseded",
    }
);

states!(
    /// What a drafted file is.
    ArtefactKind {
        /// A structured report.
        Report = "report",
        /// A picture of where the model looked.
        Capture = "capture",
        /// A selection of the image drafted from and of that picture.
        KeyObject = "key_object",
    }
);

pub(super) fn wrong(column: usize, why: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.into())
}

/// A column whose text is parsed.
pub(super) fn parsed<T: FromStr<Err: Display>>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    text.parse().map_err(|e: T::Err| wrong(column, e.to_string()))
}

pub(super) fn sop_class(row: &Row<'_>, column: usize) -> rusqlite::Result<SopClass> {
    let uid: String = row.get(column)?;
    SopClass::from_uid(&uid).ok_or_else(|| wrong(column, format!("unknown SOP class {uid}")))
}

pub(super) fn transfer_syntax(row: &Row<'_>, column: usize) -> rusqlite::Result<TransferSyntax> {
    let uid: String = row.get(column)?;
    TransferSyntax::from_uid(&uid)
        .ok_or_else(|| wrong(column, format!("unknown transfer syntax {uid}")))
}

pub(super) fn priority(row: &Row<'_>, column: usize) -> rusqlite::Result<Priority> {
    Ok(match row.get::<_, i64>(column)? {
        2 => Priority::Stat,
        1 => Priority::Urgent,
        _ => Priority::Routine,
    })
}

pub(super) fn rank(priority: Priority) -> i64 {
    match priority {
        Priority::Routine => 0,
        Priority::Urgent => 1,
        Priority::Stat => 2,
    }
}

pub(super) fn json(row: &Row<'_>, column: usize) -> rusqlite::Result<serde_json::Value> {
    let Some(text) = row.get::<_, Option<String>>(column)? else {
        return Ok(serde_json::Value::Null);
    };
    serde_json::from_str(&text).map_err(|e| wrong(column, e.to_string()))
}
