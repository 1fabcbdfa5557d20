//! Work on several tensors at once, at most one per core. The codec's own parallelism runs on the rayon pool; doing
//! this on the same pool would let a waiting thread pick up tensor after tensor, and memory would grow with the model.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// Applies `work` to every item and keeps the order. After the first error no further item is begun.
pub(crate) fn each<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let lanes = rayon::current_num_threads().min(items.len());
    if lanes <= 1 {
        return items.iter().map(work).collect();
    }
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let lane = || {
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break };
            let result = work(item);
            stop.fetch_or(result.is_err(), Ordering::Relaxed);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..lanes {
            scope.spawn(lane);
        }
        lane();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|&(at, _)| at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<usize> = (0..1000).collect();
        let doubled = each(&items, |&item| Ok::<_, ()>(2 * item)).unwrap();
        assert_eq!(doubled, (0..1000).map(|item| 2 * item).collect::<Vec<_>>());
        assert_eq!(each(&[], |&item: &usize| Err::<(), _>(item)), Ok(vec![]));
    }

    #[test]
    fn an_error_ends_the_work() {
        let items: Vec<usize> = (0..1000).collect();
        let begun = AtomicUsize::new(0);
        let result = each(&items, |&item| {
            begun.fetch_add(1, Ordering::Relaxed);
            if item == 3 { Err("three") } else { Ok(item) }
        });
        assert_eq!(result, Err("three"));
    }
}
