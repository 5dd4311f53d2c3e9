//! Where each element lies: the flat, pre-order list that a scan leaves behind.

use dicom_core::{Tag, VR};

use super::scan::Coding;

/// An element, an item or a fragment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// Its tag; (FFFE,E000) for items and fragments.
    pub(super) tag: Tag,
    /// Its VR, from the dictionary where the coding is implicit; UN for items and fragments.
    pub(super) vr: VR,
    /// How its header is coded.
    pub(super) coding: Coding,
    /// Bytes of the header before the value.
    pub(super) header: u8,
    /// Whether its length was undefined: a delimiter of 8 bytes follows the value.
    pub(super) undefined: bool,
    /// Where the value begins.
    pub(super) start: usize,
    /// Where the value ends, a delimiter left out.
    pub(super) end: usize,
    /// The place in the list after this node and all that it holds.
    pub(super) next: usize,
}

impl Node {
    /// Where the header begins.
    pub(super) const fn head(&self) -> usize {
        self.start - self.header as usize
    }
}

/// All nodes of a data set in the order of their bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    pub(super) nodes: Vec<Node>,
}

impl Index {
    /// The nodes of one level between two places in the list, each with its place.
    pub(super) fn level(&self, from: usize, to: usize) -> Level<'_> {
        Level { nodes: &self.nodes, at: from, to }
    }

    /// The top level.
    pub(super) fn top(&self) -> Level<'_> {
        self.level(0, self.nodes.len())
    }

    /// What a node holds.
    pub(super) fn children(&self, place: usize) -> Level<'_> {
        match self.nodes.get(place) {
            Some(node) => self.level(place + 1, node.next),
            None => self.level(0, 0),
        }
    }
}

/// Siblings and their places.
#[derive(Debug, Clone)]
pub(super) struct Level<'a> {
    nodes: &'a [Node],
    at: usize,
    to: usize,
}

impl<'a> Iterator for Level<'a> {
    type Item = (usize, &'a Node);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.to {
            return None;
        }
        let place = self.at;
        let node = self.nodes.get(place)?;
        self.at = node.next.max(place + 1);
        Some((place, node))
    }
}
