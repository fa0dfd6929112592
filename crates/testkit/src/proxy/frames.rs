//! Where the frames of AMQP 0-9-1 begin in a stream of bytes, and which methods they carry.

/// What a client says before its first frame.
const GREETING: u64 = 8;
/// Kind, channel and size.
const HEAD: usize = 7;
/// The same with the method's class and number.
const METHOD_HEAD: usize = HEAD + 4;
/// The kind of a frame that carries a method.
const METHOD: u8 = 1;

/// Follows one direction of a connection. Bytes of another protocol do no harm.
#[derive(Debug)]
pub(super) struct Frames {
    /// How many bytes there are before the next frame.
    skip: u64,
    /// The beginning of a frame, as far as it is known.
    head: Vec<u8>,
}

/// A method's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it begins in what was given; `None` where it began before.
    pub(super) at: Option<u64>,
    /// All its bytes.
    pub(super) size: u64,
    /// Class and number.
    pub(super) method: (u16, u16),
}

impl Frames {
    pub(super) fn from_client() -> Self {
        Self {
            skip: GREETING,
            head: Vec::new(),
        }
    }

    pub(super) fn from_server() -> Self {
        Self {
            skip: 0,
            head: Vec::new(),
        }
    }

    /// How many of the bytes given so far are the beginning of a frame that is not known yet.
    pub(super) fn unknown(&self) -> usize {
        self.head.len()
    }

    /// Takes these bytes for not given.
    pub(super) fn forget_unknown(&mut self) {
        self.head.clear();
    }

    /// The methods whose frames become known with these bytes.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let given = bytes.len() - rest.len();
            if self.skip > 0 {
                let skipped =
                    usize::try_from(self.skip).map_or(rest.len(), |it| it.min(rest.len()));
                self.skip -= skipped as u64;
                rest = &rest[skipped..];
                continue;
            }
            self.head.push(rest[0]);
            rest = &rest[1..];
            found.extend(self.known(given + 1));
        }
        found
    }

    /// The frame whose head ends with the byte before `given`, if it does.
    fn known(&mut self, given: usize) -> Option<Found> {
        let size = self.head.get(3..HEAD)?;
        let size = size
            .iter()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let all = HEAD as u64 + size + 1;
        let is_method = self.head[0] == METHOD && size >= 4;
        if is_method && self.head.len() < METHOD_HEAD {
            return None;
        }
        let head = std::mem::take(&mut self.head);
        self.skip = all - head.len() as u64;
        is_method.then(|| Found {
            at: given.checked_sub(head.len()).map(|at| at as u64),
            size: all,
            method: (
                u16::from_be_bytes([head[7], head[8]]),
                u16::from_be_bytes([head[9], head[10]]),
            ),
        })
    }
}
