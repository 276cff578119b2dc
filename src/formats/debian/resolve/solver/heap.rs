//! A binary heap in a vector, the greatest element first. Which of two equal elements comes first depends on the
//! implementation. This one matches the C++ library that apt is compiled with, since the solver's results depend on it.

/// Moves the last element to its position.
pub(super) fn push<T>(heap: &mut [T], less: impl Fn(&T, &T) -> bool) {
    let last = heap.len() - 1;
    rise(heap, last, 0, less);
}

/// Removes the greatest element.
pub(super) fn pop<T>(heap: &mut Vec<T>, less: impl Fn(&T, &T) -> bool) -> Option<T> {
    let last = heap.len().checked_sub(1)?;
    heap.swap(0, last);
    let greatest = heap.pop();
    if last > 1 {
        sink(heap, 0, less);
    }
    greatest
}

/// Turns elements in any order into a heap.
pub(super) fn make<T>(heap: &mut [T], less: impl Fn(&T, &T) -> bool) {
    for top in (0..heap.len() / 2).rev() {
        sink(heap, top, &less);
    }
}

/// Moves an element up while it is greater than its parent, but not above `top`.
fn rise<T>(heap: &mut [T], mut at: usize, top: usize, less: impl Fn(&T, &T) -> bool) {
    while at > top {
        let above = (at - 1) / 2;
        if !less(&heap[above], &heap[at]) {
            break;
        }
        heap.swap(above, at);
        at = above;
    }
}

/// Moves an element down to the bottom, always swapping it with its greater child, and then up to its position.
fn sink<T>(heap: &mut [T], top: usize, less: impl Fn(&T, &T) -> bool) {
    let mut at = top;
    while 2 * at + 2 < heap.len() {
        let right = 2 * at + 2;
        let greater = if less(&heap[right], &heap[right - 1]) { right - 1 } else { right };
        heap.swap(at, greater);
        at = greater;
    }
    if 2 * at + 2 == heap.len() {
        heap.swap(at, 2 * at + 1);
        at = 2 * at + 1;
    }
    rise(heap, at, top, less);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_comes_first_and_ties_fall_as_in_the_c_plus_plus_library() {
        let less = |a: &(u32, char), b: &(u32, char)| a.0 < b.0;
        let mut heap = Vec::new();
        for element in [(1, 'a'), (2, 'b'), (2, 'c'), (1, 'd'), (2, 'e'), (2, 'f')] {
            heap.push(element);
            push(&mut heap, less);
        }
        let order: String = std::iter::from_fn(|| pop(&mut heap, less)).map(|(_, name)| name).collect();
        assert_eq!(order, "bcfeda");
        let mut heap = vec![(1, 'a'), (2, 'b'), (2, 'c'), (1, 'd'), (2, 'e'), (2, 'f')];
        make(&mut heap, less);
        let order: String = std::iter::from_fn(|| pop(&mut heap, less)).map(|(_, name)| name).collect();
        assert_eq!(order, "fcebda");
    }
}
