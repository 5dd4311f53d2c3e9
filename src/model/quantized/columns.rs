//! A result matrix that several threads fill, each its own columns.
#![expect(unsafe_code, reason = "threads write disjoint columns of one buffer")]

use std::marker::PhantomData;

/// `[rows, width]`, written by columns.
pub(in crate::model) struct Columns<'a> {
    start: *mut f32,
    rows: usize,
    width: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: the only access is `write`, whose callers own the columns they write.
unsafe impl Sync for Columns<'_> {}

impl<'a> Columns<'a> {
    /// Takes the whole of `out`, whose length is a multiple of `width`.
    pub(in crate::model) fn new(out: &'a mut [f32], width: usize) -> Self {
        let rows = out.len() / width.max(1);
        Self { start: out.as_mut_ptr(), rows, width, owner: PhantomData }
    }

    /// Writes neighbouring columns of a row; what would lie outside is left out.
    ///
    /// # Safety
    /// No other thread writes these columns.
    pub(in crate::model) unsafe fn write(&self, row: usize, column: usize, values: &[f32]) {
        if row >= self.rows || column >= self.width {
            return;
        }
        let count = values.len().min(self.width - column);
        // SAFETY: row and columns lie within the buffer by the checks above, and no other thread
        // touches them by the contract.
        unsafe {
            let to = self.start.add(row * self.width + column);
            std::ptr::copy_nonoverlapping(values.as_ptr(), to, count);
        }
    }
}
