//! Which acknowledgements say the most with the fewest frames. Pure.
//!
//! Delivery tags of a channel count from 1. While tasks finish in order, one `multiple` frame
//! covers them all; one that finishes behind a gap is told alone and at once.

use std::collections::BTreeSet;

/// One acknowledgement to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AckFrame {
    /// The delivery tag.
    pub(crate) tag: u64,
    /// Whether it covers all before it.
    pub(crate) multiple: bool,
}

/// What has been told about the deliveries of one channel.
#[derive(Debug)]
pub(crate) struct AckWindow {
    /// The lowest tag not told yet.
    low: u64,
    /// Told, above `low`. At most the prefetch window.
    told: BTreeSet<u64>,
}

impl Default for AckWindow {
    fn default() -> Self {
        Self {
            low: 1,
            told: BTreeSet::new(),
        }
    }
}

impl AckWindow {
    /// Notes a tag that was told otherwise: given back.
    pub(crate) fn told(&mut self, tag: u64) {
        if tag >= self.low {
            self.told.insert(tag);
        }
        self.advance();
    }

    /// The frames that acknowledge these tags, each tag exactly once.
    pub(crate) fn acknowledge(&mut self, tags: &[u64]) -> Vec<AckFrame> {
        let fresh: BTreeSet<u64> = tags
            .iter()
            .copied()
            .filter(|tag| *tag >= self.low && !self.told.contains(tag))
            .collect();
        let mut run = 0_usize;
        let mut last = None;
        while fresh.contains(&self.low) || self.told.contains(&self.low) {
            if fresh.contains(&self.low) {
                run += 1;
                last = Some(self.low);
            }
            self.told.remove(&self.low);
            self.low += 1;
        }
        let mut frames = Vec::new();
        if let Some(tag) = last {
            frames.push(AckFrame {
                tag,
                multiple: run > 1,
            });
        }
        for tag in fresh.into_iter().filter(|tag| *tag >= self.low) {
            self.told.insert(tag);
            frames.push(AckFrame {
                tag,
                multiple: false,
            });
        }
        frames
    }

    fn advance(&mut self) {
        while self.told.remove(&self.low) {
            self.low += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: u64, multiple: bool) -> AckFrame {
        AckFrame { tag, multiple }
    }

    #[test]
    fn a_contiguous_prefix_is_one_frame_and_what_is_behind_a_gap_is_told_alone() {
        let mut window = AckWindow::default();
        assert_eq!(window.acknowledge(&[1]), [frame(1, false)]);
        assert_eq!(window.acknowledge(&[3, 2, 4]), [frame(4, true)]);
        assert_eq!(
            window.acknowledge(&[7, 6]),
            [frame(6, false), frame(7, false)]
        );
        assert_eq!(window.acknowledge(&[5]), [frame(5, false)]);
        assert_eq!(window.acknowledge(&[8, 9]), [frame(9, true)]);
        assert!(window.told.is_empty());
    }

    #[test]
    fn a_multiple_frame_never_ends_at_a_tag_that_was_given_back() {
        let mut window = AckWindow::default();
        window.told(2);
        window.told(4);
        assert_eq!(window.acknowledge(&[1, 3]), [frame(3, true)]);
        assert_eq!(window.low, 5);
    }

    #[test]
    fn every_tag_is_told_exactly_once_in_any_order() {
        let mut seed = 7_u64;
        for _ in 0..200 {
            let mut window = AckWindow::default();
            let mut open: Vec<u64> = (1..=60).collect();
            let mut outstanding: BTreeSet<u64> = (1..=60).collect();
            while !open.is_empty() {
                let mut wave = Vec::new();
                for _ in 0..4 {
                    if open.is_empty() {
                        break;
                    }
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let at = usize::try_from(seed >> 33).unwrap() % open.len().min(8);
                    wave.push(open.remove(at));
                }
                let before = outstanding.len();
                for frame in window.acknowledge(&wave) {
                    assert!(outstanding.contains(&frame.tag));
                    if frame.multiple {
                        outstanding.retain(|tag| *tag > frame.tag);
                    } else {
                        outstanding.remove(&frame.tag);
                    }
                }
                assert_eq!(before - outstanding.len(), wave.len());
            }
            assert!(outstanding.is_empty());
        }
    }
}
