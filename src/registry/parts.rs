//! The size of requests. Proxies before registries have limits that they do not announce: nginx's default is one MiB, and
//! content networks allow a hundred MB. A blob is sent whole as long as the server takes it, and then in parts that become
//! smaller as often as necessary.

/// The sizes of parts that are tried in turn, each a little below a common limit.
const SIZES: [u64; 9] =
    [90 << 20, 45 << 20, 18 << 20, 9 << 20, 4 << 20, 1 << 20, 500 << 10, 100 << 10, 60 << 10];

/// The next smaller size after a request of `refused` bytes was refused; `None` if there is none.
pub(super) fn below(refused: u64) -> Option<u64> {
    SIZES.into_iter().find(|size| *size < refused)
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn parts_become_smaller_until_they_cannot() {
        let sizes: Vec<u64> = std::iter::successors(Some(3 << 30), |size| below(*size)).collect();
        assert_eq!(sizes.len(), 10);
        assert!(sizes.windows(2).all(|pair| pair[1] < pair[0]));
        // The limits that proxies have by themselves.
        for limit in [100_000_000_u64, 50 << 20, 10_000_000, 5_000_000, 1 << 20, 512_000, 64 << 10] {
            assert!(sizes.iter().any(|size| *size <= limit && *size * 2 > limit), "{limit}");
        }
    }
}
