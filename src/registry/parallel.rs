//! Several requests at once, on their own threads, since they wait for the network and not for a processor.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::threads::{self, Task};

/// Does a piece of work for every item, `at_once` at a time, and returns the results in the order of the items. When one
/// fails, no further one is started and those that run are stopped. The result is the failure of the first item that was not
/// just stopped.
pub(crate) fn each<T: Sync, R: Send, E: From<Cancelled> + Send>(
    items: &[T],
    at_once: usize,
    cancel: &Cancel,
    run: impl Fn(&T, &Cancel) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let work = cancel.child();
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return done };
            if work.check().is_err() {
                return done;
            }
            let result = run(item, &work);
            let stopped = result.is_err() && work.check().is_err();
            if result.is_err() {
                work.interrupt();
            }
            // A failure after another one is likely to come from being stopped.
            done.push((stopped, index, result));
        }
    };
    let mut results: Vec<(bool, usize, Result<R, E>)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once.min(items.len())).map(|_| threads::begin(scope, worker)).collect();
        threads.into_iter().flat_map(Task::join).collect()
    });
    cancel.check()?;
    results.sort_by_key(|(stopped, index, _)| (*stopped, *index));
    let complete = results.len() == items.len();
    let results: Vec<R> = results.into_iter().map(|(_, _, result)| result).collect::<Result<_, E>>()?;
    if complete { Ok(results) } else { Err(Cancelled::Stopped.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Error {
        Own(usize),
        Cancelled(Cancelled),
    }

    impl From<Cancelled> for Error {
        fn from(cancelled: Cancelled) -> Self {
            Self::Cancelled(cancelled)
        }
    }

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..40).collect();
        let results = each(&items, 4, &Cancel::new(), |item, _| {
            crate::sys::clock::sleep(std::time::Duration::from_millis(5 - item % 5));
            Ok::<_, Error>(item * 2)
        });
        assert_eq!(results.unwrap(), items.iter().map(|item| item * 2).collect::<Vec<_>>());
    }

    #[test]
    fn a_failure_stops_the_others_and_is_the_one_that_is_told() {
        let items: Vec<usize> = (0..100).collect();
        let result = each(&items, 4, &Cancel::new(), |item, cancel| {
            if *item == 3 {
                return Err(Error::Own(*item));
            }
            if *item < 3 {
                loop {
                    cancel.check()?;
                }
            }
            Ok(())
        });
        assert_eq!(result, Err(Error::Own(3)));
        let stopped = Cancel::new();
        stopped.interrupt();
        assert_eq!(
            each(&items, 4, &stopped, |_, _| Ok::<(), Error>(())),
            Err(Error::Cancelled(Cancelled::Interrupted))
        );
    }
}
