//! A data set without a file: what a peer sends beside objects.

use super::index::Index;
use super::item::Item;
use super::scan::{self, Limits, Malformed};
use crate::vocabulary::TransferSyntax;

/// A data set whose structure scan passed.
#[derive(Debug, Clone)]
pub struct DataSet {
    bytes: Vec<u8>,
    index: Index,
}

impl DataSet {
    /// Checks the structure of bytes in a syntax that is not deflated.
    ///
    /// # Errors
    /// The place and the rule that is broken.
    pub fn parse(
        bytes: Vec<u8>,
        syntax: TransferSyntax,
        limits: &Limits,
    ) -> Result<Self, Malformed> {
        let index = scan::scan(&bytes, syntax, limits)?;
        Ok(Self { bytes, index })
    }

    /// Its elements.
    pub fn top(&self) -> Item<'_> {
        Item::top(&self.bytes, &self.index)
    }
}
