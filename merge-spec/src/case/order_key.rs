//! The order key an author writes to put a node between two others (M11).

/// Finds a key strictly between two effective keys, ending in `ending`. None where none fits.
///
/// `left` is the key of the neighbour before and `right` that of the one after; either is missing
/// at its end of the list. With *left* the empty key where it is missing, the result is
///
/// 1. where *right* does not begin with *left*, or is missing: *left*, `0x80`, `ending`. It is
///    longer than *left*, thus greater, and less than *right* since *left* differs from it before
///    its end.
/// 2. where *right* is *left* and a remainder: *left*, as many zeros as the remainder begins with,
///    half of the byte *b* after them, `ending`; half of 1, which is 0, is followed by `0x80`. The
///    half is less than *b*, so the key is less than *right*.
/// 3. none, where the remainder is empty or all zeros, or *left* is greater than *right*.
///
/// The byte added before `ending` is never a lone zero, so there is always room on both sides of
/// a key made here, even if `ending` is all zeros.
#[must_use]
pub fn key_between(left: Option<&[u8]>, right: Option<&[u8]>, ending: [u8; 4]) -> Option<Vec<u8>> {
    let left = left.unwrap_or_default();
    let mut key = left.to_vec();
    match right.map(|right| (right, right.strip_prefix(left))) {
        Some((_, Some(remainder))) => {
            let zeros = remainder.iter().position(|byte| *byte != 0)?;
            key.extend(&remainder[..zeros]);
            match remainder[zeros] / 2 {
                0 => key.extend([0, 0x80]),
                half => key.push(half),
            }
        }
        Some((right, None)) if left > right => return None,
        _ => key.push(0x80),
    }
    key.extend(ending);
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lies_strictly_between_its_neighbours() {
        let keys: [&[u8]; 9] = [
            &[1],
            &[1, 0, 0, 1],
            &[1, 0, 1],
            &[1, 2],
            &[2],
            &[0x80, b'a'],
            &[0x80, b'a', b'b'],
            &[0xff],
            &[0xff, 0xff],
        ];
        for ending in [[0; 4], [b'A', 0, 0, 0], [0xff; 4]] {
            for (at, left) in keys.iter().enumerate() {
                for right in &keys[at + 1..] {
                    let key = key_between(Some(left), Some(right), ending).expect("room");
                    assert!(*left < key.as_slice() && key.as_slice() < *right);
                    assert!(key.ends_with(&ending));
                }
            }
        }
    }

    #[test]
    fn there_is_room_again_and_again_at_both_ends_and_in_the_middle() {
        for ending in [[0; 4], [b'A', 0, 0, 0], [0xff; 4]] {
            let (mut first, mut last) = (vec![0x80, b'a'], vec![0x80, b'a']);
            let (mut low, mut high) = (vec![0x80, b'a'], vec![0x80, b'b']);
            for turn in 0..50 {
                let before = key_between(None, Some(&first), ending).expect("room before");
                assert!(before < first);
                first = before;
                let after = key_between(Some(&last), None, ending).expect("room after");
                assert!(after > last);
                last = after;
                let middle = key_between(Some(&low), Some(&high), ending).expect("room between");
                assert!(low < middle && middle < high);
                *(if turn % 3 == 0 { &mut low } else { &mut high }) = middle;
            }
        }
    }

    #[test]
    fn nothing_fits_between_equal_keys() {
        assert_eq!(
            key_between(Some(&[0x80, b'a']), Some(&[0x80, b'a']), [1; 4]),
            None
        );
        assert_eq!(key_between(Some(&[2]), Some(&[1]), [1; 4]), None);
        assert_eq!(key_between(Some(&[1]), Some(&[1, 0]), [1; 4]), None);
    }
}
