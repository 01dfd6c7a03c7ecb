//! An allocator that counts, per thread, how often it is asked for memory, and by whom.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

/// Callers that are looked up, at most: a backtrace takes its time, and when there are more, the
/// number alone says enough.
const TRACED_MAX: u64 = 3_000;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    /// So many more callers are to be noted. While one is, what that allocates doesn't count.
    static TRACE: Cell<u64> = const { Cell::new(0) };
    static TRACING: Cell<bool> = const { Cell::new(false) };
    static CALLERS: RefCell<HashMap<String, u64>> = RefCell::new(HashMap::new());
}

pub(crate) struct Counting;

/// Allocations of this thread so far, those that make something larger included.
pub(crate) fn allocations() -> u64 {
    COUNT.get()
}

/// Notes the callers of this thread's next allocations.
pub(crate) fn trace() {
    TRACE.set(TRACED_MAX);
}

/// The callers that were noted, the most frequent first.
pub(crate) fn callers() -> Vec<(String, u64)> {
    TRACE.set(0);
    let mut callers: Vec<_> = CALLERS.take().into_iter().collect();
    callers.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    callers
}

fn note() {
    if TRACING.get() {
        return;
    }
    COUNT.set(COUNT.get() + 1);
    if TRACE.get() > 0 {
        TRACE.set(TRACE.get() - 1);
        TRACING.set(true);
        let caller = caller(&Backtrace::force_capture().to_string());
        CALLERS.with_borrow_mut(|callers| *callers.entry(caller).or_default() += 1);
        TRACING.set(false);
    }
}

/// The innermost functions of the relay and of quinn-proto in a backtrace.
fn caller(backtrace: &str) -> String {
    let functions = backtrace.lines().filter_map(|line| line.trim().split_once(": "));
    let known = functions
        .map(|(_, function)| function)
        .filter(|function| function.contains("weir_") || function.contains("quinn_proto"));
    let names: Vec<&str> = known.take(3).collect();
    names.join(" < ")
}

// SAFETY: every call goes to the system's allocator unchanged, which keeps the contract; what is
// done besides touches only cells of this thread, and allocates through the same functions without
// being counted. The trait is unsafe, and there is no other way to see allocations.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}
