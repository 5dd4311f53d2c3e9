//! Threads that share short work.
//!
//! A product of one row takes tens of microseconds, so threads wait a while for the next one
//! before they sleep. The caller does its share, and what no other thread has begun: it never
//! waits for one that a busy machine has not let run yet.
#![expect(unsafe_code, reason = "threads borrow the caller's work while it waits for them")]

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

/// How often a thread looks for work before it sleeps: some 50 µs.
const LOOKS: usize = 3000;
/// Set in the gate when nobody may enter.
const CLOSED: usize = 1 << (usize::BITS - 1);
/// Shares that each thread takes of a piece of work, so that a slow one holds none up.
const SHARES: usize = 8;

/// Calls `work` for parts that make up `0..count`, in several threads.
pub(in crate::model) fn share(count: usize, work: impl Fn(Range<usize>) + Sync) {
    static POOL: OnceLock<Pool> = OnceLock::new();
    let threads = candle_core::utils::get_num_threads();
    let pool = POOL.get_or_init(|| Pool::start(threads.saturating_sub(1)));
    let parts = (threads * SHARES).max(1);
    let job =
        Job { work: &work, next: AtomicUsize::new(0), count, part: count.div_ceil(parts).max(1) };
    match pool.caller.try_lock() {
        Ok(_caller) => pool.run(&job),
        // Another thread has the pool, or work shares work.
        Err(_) => job.run(),
    }
}

struct Job<'a> {
    work: &'a (dyn Fn(Range<usize>) + Sync),
    next: AtomicUsize,
    count: usize,
    part: usize,
}

impl Job<'_> {
    fn run(&self) {
        loop {
            let first = self.next.fetch_add(self.part, Ordering::Relaxed);
            if first >= self.count {
                return;
            }
            (self.work)(first..(first + self.part).min(self.count));
        }
    }
}

struct Pool {
    caller: Mutex<()>,
    shared: &'static Shared,
}

#[derive(Default)]
struct Shared {
    /// How many threads are at the job; with `CLOSED`, none may begin.
    gate: AtomicUsize,
    job: AtomicPtr<Job<'static>>,
    /// Counts the jobs.
    round: AtomicUsize,
    sleeping: AtomicUsize,
    bed: Mutex<()>,
    bell: Condvar,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Pool {
    fn start(threads: usize) -> Self {
        let shared = Shared { gate: AtomicUsize::new(CLOSED), ..Shared::default() };
        let shared: &'static Shared = Box::leak(Box::new(shared));
        for i in 0..threads {
            let name = format!("product-{i}");
            // A thread that cannot be had is one less to share with.
            drop(std::thread::Builder::new().name(name).spawn(move || shared.serve()));
        }
        Self { caller: Mutex::new(()), shared }
    }

    fn run(&self, job: &Job<'_>) {
        let shared = self.shared;
        shared.job.store(ptr::from_ref(job).cast::<Job<'static>>().cast_mut(), Ordering::Release);
        shared.gate.fetch_and(!CLOSED, Ordering::AcqRel);
        // From here on no way leads out but past the closed gate.
        let closing = Closing(shared);
        shared.round.fetch_add(1, Ordering::SeqCst);
        if shared.sleeping.load(Ordering::SeqCst) > 0 {
            drop(shared.bed.lock());
            shared.bell.notify_all();
        }
        job.run();
        drop(closing);
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

/// Closes the gate, and waits for those within.
struct Closing(&'static Shared);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.gate.fetch_or(CLOSED, Ordering::AcqRel);
        let mut looks = 0;
        while self.0.gate.load(Ordering::Acquire) != CLOSED {
            looks += 1;
            if looks < LOOKS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

impl Shared {
    fn serve(&self) {
        let mut seen = 0;
        loop {
            self.wait(seen);
            seen = self.round.load(Ordering::SeqCst);
            if self.gate.load(Ordering::Acquire) & CLOSED != 0 {
                continue;
            }
            if self.gate.fetch_add(1, Ordering::AcqRel) & CLOSED == 0 {
                // SAFETY: the gate was open when this thread entered, so the job was set before
                // and its owner waits until this thread has left.
                let job = unsafe { &*self.job.load(Ordering::Acquire) };
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job.run())) {
                    *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
                }
            }
            self.gate.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Returns when there was a job after `seen`.
    fn wait(&self, seen: usize) {
        for _ in 0..LOOKS {
            if self.round.load(Ordering::Acquire) != seen {
                return;
            }
            std::hint::spin_loop();
        }
        let mut bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        while self.round.load(Ordering::SeqCst) == seen {
            bed = self.bell.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
    }
}
