//! How each kernel is launched: its grid, and the members of its structure in order.

use candle_core::{DType, Result, bail};

use super::{Launch, Machine, Word, suffix};

/// Threads of a block that goes over a row.
const THREADS: usize = 256;
/// No block has more.
const MOST_THREADS: usize = 512;
/// Threads of a warp.
const WARP: usize = 32;
/// Warps of a block of a product, or of a softmax.
const WARPS: usize = 4;
/// Rows that a product reads a weight once for.
const FEW: usize = 4;
/// Bytes of shared memory that each thread of a product, and of an attention, has for what is under
/// way to it: two rows of the weight, and keys and values.
const UNDER_WAY: [usize; 2] = [8 * 2 * 16, 128];

fn launch<M: Machine>(
    machine: &M,
    name: &str,
    grid: (usize, usize),
    threads: usize,
    shared: usize,
    words: Vec<Word<'_, M::Buffer>>,
) -> Result<()> {
    let dtype = machine.dtype();
    let Some(suffix) = suffix(dtype) else { bail!("there are no kernels for {dtype:?}") };
    let (Ok(x), Ok(y @ 0..=0xffff)) = (u32::try_from(grid.0), u32::try_from(grid.1)) else {
        bail!("{name}: a grid of {} × {} blocks is too large", grid.0, grid.1)
    };
    if x == 0 || y == 0 {
        return Ok(());
    }
    machine.launch(&Launch {
        kernel: format!("{name}_{suffix}"),
        grid: (x, y),
        threads: threads as u32,
        shared: shared as u32,
        words,
    })
}

/// Numbers in sixteen bytes.
fn pack(dtype: DType) -> usize {
    16 / dtype.size_in_bytes()
}

/// A norm over rows.
#[derive(Debug)]
pub struct Norm<'a, B> {
    /// `[width]`
    pub weight: &'a B,
    /// `[width]`
    pub bias: Option<&'a B>,
    /// Added to the mean square.
    pub eps: f64,
    /// Whether the mean is taken off.
    pub centre: bool,
}

/// The rows that a norm goes over.
#[derive(Debug)]
pub struct Rows<'a, B> {
    /// How many there are.
    pub held: usize,
    /// Numbers of each.
    pub width: usize,
    /// Which the norm is taken of, as so many words; absent: all.
    pub places: Option<(&'a B, usize)>,
}

// Derived, they would be copied only where a buffer can be.
impl<B> Clone for Rows<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B> Copy for Rows<'_, B> {}

/// The norm of rows of `x`, or of `x + added`: that sum where something is added, and the norm.
/// With places only those rows of the sum are filled in.
pub fn norm<M: Machine>(
    machine: &M,
    x: &M::Buffer,
    added: Option<&M::Buffer>,
    norm: &Norm<'_, M::Buffer>,
    rows: Rows<'_, M::Buffer>,
) -> Result<(Option<M::Buffer>, M::Buffer)> {
    let Rows { held, width, places } = rows;
    let (places, count) = places.map_or((None, held), |(places, count)| (Some(places), count));
    let sum = added.map(|_| machine.room(held, width)).transpose()?;
    let out = machine.room(count, width)?;
    let words = vec![
        Word::Buffer(Some(x)),
        Word::Buffer(added),
        Word::Buffer(Some(norm.weight)),
        Word::Buffer(norm.bias),
        Word::Buffer(places),
        Word::Buffer(sum.as_ref()),
        Word::Buffer(Some(&out)),
        Word::Whole(width),
        Word::Whole(usize::from(norm.centre)),
        Word::Real(norm.eps),
    ];
    let pack = pack(machine.dtype());
    let (name, chunks) =
        if width.is_multiple_of(pack) { ("norm_packed", width / pack) } else { ("norm", width) };
    let threads = chunks.next_multiple_of(WARP).min(MOST_THREADS);
    launch(machine, name, (count, 1), threads, threads / WARP * size_of::<f32>(), words)?;
    Ok((sum, out))
}

/// What a product does to its rows before.
#[derive(Debug)]
pub struct NormBefore<'a, B> {
    /// The norm's weight.
    pub weight: &'a B,
    /// Added to the mean square.
    pub eps: f64,
    /// Whether the product's rows are gates and, after them, what they gate: what comes out is
    /// `silu(gate) · up`.
    pub gated: bool,
}

impl<B> Clone for NormBefore<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B> Copy for NormBefore<'_, B> {}

/// Whether [`product`] can take so many rows of so many numbers.
pub fn product_fits(dtype: DType, rows: usize, input: usize) -> bool {
    rows <= FEW && input.is_multiple_of(pack(dtype))
}

/// `x · Wᵀ` of few rows `[rows, input]`, W `[output, input]`, of a root-mean-square norm of `x` where
/// there is one; plus `residual` `[rows, output]`, without a norm only.
pub fn product<M: Machine>(
    machine: &M,
    x: &M::Buffer,
    weight: &M::Buffer,
    before: Option<NormBefore<'_, M::Buffer>>,
    residual: Option<&M::Buffer>,
    [rows, input, output]: [usize; 3],
) -> Result<M::Buffer> {
    if !product_fits(machine.dtype(), rows, input) || (before.is_some() && residual.is_some()) {
        bail!("no product of {rows} rows of {input} numbers");
    }
    let gated = before.is_some_and(|before| before.gated);
    let output = if gated { output / 2 } else { output };
    let name = match before {
        Some(_) if gated => "gated_product",
        Some(_) => "normed_product",
        None => "product",
    };
    let out = machine.room(rows, output)?;
    let words = vec![
        Word::Buffer(Some(x)),
        Word::Buffer(Some(weight)),
        Word::Buffer(before.map(|before| before.weight)),
        Word::Buffer(residual),
        Word::Buffer(Some(&out)),
        Word::Whole(input),
        Word::Whole(output),
        Word::Real(before.map_or(0.0, |before| before.eps)),
    ];
    let warps = if gated { output } else { output.div_ceil(2) };
    let (grid, threads) = ((warps.div_ceil(WARPS), 1), WARPS * WARP);
    launch(machine, &format!("{name}{rows}"), grid, threads, threads * UNDER_WAY[0], words)?;
    Ok(out)
}

/// `silu(gate) · up` of rows `[rows, 2 · wide]` that hold the gates and then what they gate.
pub fn gated<M: Machine>(
    machine: &M,
    x: &M::Buffer,
    rows: usize,
    wide: usize,
) -> Result<M::Buffer> {
    let out = machine.room(rows, wide)?;
    let words = vec![Word::Buffer(Some(x)), Word::Buffer(Some(&out)), Word::Whole(wide)];
    launch(machine, "gated", (rows, wide.div_ceil(THREADS)), THREADS, 0, words)?;
    Ok(out)
}

/// Attention of rows over the caches of their sequences.
#[derive(Debug)]
pub struct Attention<'a, B> {
    /// `[rows, (heads + 2 · kv_heads) · width]`: queries, keys and values of each row.
    pub joined: &'a B,
    /// Three words a row: its cache's address and capacity, and its position.
    pub places: &'a B,
    /// Cosines and sines `[positions, width / 2]`, f32.
    pub angles: [&'a B; 2],
    /// The layer among those of the cache.
    pub layer: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Numbers of a head.
    pub width: usize,
    /// Rows.
    pub rows: usize,
}

/// How threads share the numbers of a head.
struct Share {
    /// The kernels' name for it.
    size: &'static str,
    /// Threads of a key: two to the power of this.
    lanes: u32,
}

fn share(dtype: DType, width: usize) -> Option<Share> {
    let pack = pack(dtype);
    let packs = if width.is_multiple_of(pack) { width / pack } else { width.div_ceil(4) };
    let (size, packs) = match packs {
        packs if !width.is_multiple_of(pack) => ("small", packs),
        packs if packs <= WARP => ("middle", packs),
        packs => ("large", packs.div_ceil(2)),
    };
    let lanes = packs.next_power_of_two();
    (lanes <= WARP).then_some(Share { size, lanes: lanes.trailing_zeros() })
}

/// Whether [`attend`] can take heads of so many numbers.
pub fn head_fits(dtype: DType, width: usize) -> bool {
    width > 0 && width.is_multiple_of(2) && share(dtype, width).is_some()
}

impl<B> Attention<'_, B> {
    fn words<'a>(&'a self, out: Option<&'a B>, lanes: u32) -> Vec<Word<'a, B>> {
        let [cosines, sines] = self.angles;
        vec![
            Word::Buffer(Some(self.joined)),
            Word::Buffer(Some(self.places)),
            Word::Buffer(Some(cosines)),
            Word::Buffer(Some(sines)),
            Word::Buffer(out),
            Word::Whole(self.layer),
            Word::Whole(self.heads),
            Word::Whole(self.kv_heads),
            Word::Whole(self.width),
            Word::Whole(lanes as usize),
            Word::Real(1.0 / (self.width as f64).sqrt()),
        ]
    }
}

/// Writes the keys, turned by their positions, and the values of all rows into their caches.
pub fn append<M: Machine>(machine: &M, rows: &Attention<'_, M::Buffer>) -> Result<()> {
    let threads = rows.width.next_multiple_of(WARP).min(THREADS);
    launch(machine, "append", (rows.rows, rows.kv_heads), threads, 0, rows.words(None, 0))
}

/// What each row takes from the values of its sequence up to its own position,
/// `[rows, heads · width]`. `alone`: no sequence has more than one row, and this writes its keys
/// and values into the cache; else [`append`] did.
pub fn attend<M: Machine>(
    machine: &M,
    rows: &Attention<'_, M::Buffer>,
    alone: bool,
) -> Result<M::Buffer> {
    let Attention { heads, width, rows: count, .. } = *rows;
    let Some(Share { size, lanes }) = share(machine.dtype(), width) else {
        bail!("no attention for heads of {width} numbers")
    };
    let out = machine.room(count, heads * width)?;
    let numbers = 3 * width + 2 * (THREADS >> lanes);
    let name = if alone { "attend_alone" } else { "attend" };
    let words = rows.words(Some(&out), lanes);
    let shared = THREADS * UNDER_WAY[1] + numbers * size_of::<f32>();
    launch(machine, &format!("{name}_{size}"), (count, heads), THREADS, shared, words)?;
    Ok(out)
}

/// A softmax over the rows of `[batch, heads, rows, columns]`.
#[derive(Debug)]
pub struct Softmax<'a, B> {
    /// The sizes.
    pub shape: [usize; 4],
    /// What the scores are multiplied by.
    pub scale: f64,
    /// Added to the scaled scores, `[heads, rows, columns]`.
    pub bias: Option<&'a B>,
    /// Added too, f32 `[windows, rows, columns]`, the batch being images × windows.
    pub mask: Option<(&'a B, usize)>,
    /// Row `i` sees the columns `0..=first + i`; absent: all.
    pub first: Option<usize>,
}

/// `softmax(x · scale + bias + mask)` over the last dimension.
pub fn softmax<M: Machine>(
    machine: &M,
    x: &M::Buffer,
    softmax: &Softmax<'_, M::Buffer>,
) -> Result<M::Buffer> {
    let [batch, heads, rows, columns] = softmax.shape;
    let count = batch * heads * rows;
    let out = machine.room(count, columns)?;
    let (mask, windows) = softmax.mask.unzip();
    let words = vec![
        Word::Buffer(Some(x)),
        Word::Buffer(softmax.bias),
        Word::Buffer(mask),
        Word::Buffer(Some(&out)),
        Word::Whole(count),
        Word::Whole(heads),
        Word::Whole(rows),
        Word::Whole(columns),
        Word::Whole(windows.unwrap_or(1)),
        Word::Whole(softmax.first.unwrap_or(columns)),
        Word::Real(softmax.scale),
    ];
    launch(machine, "softmax", (count.div_ceil(WARPS), 1), WARPS * WARP, 0, words)?;
    Ok(out)
}

/// Logits `[rows, width]` in 32 bits, and behind each row the natural logarithm of the sum of its
/// exponents: `[rows, width + 1]`.
pub fn logits<M: Machine>(
    machine: &M,
    x: &M::Buffer,
    rows: usize,
    width: usize,
) -> Result<M::Buffer> {
    let out = machine.wide_room(rows, width + 1)?;
    let words = vec![Word::Buffer(Some(x)), Word::Buffer(Some(&out)), Word::Whole(width)];
    let shared = MOST_THREADS / WARP * size_of::<f32>();
    launch(machine, "logits", (rows, 1), MOST_THREADS, shared, words)?;
    Ok(out)
}
