//! Makes the texts of one frame safe to read: lapin gives up a connection whose peer's names and
//! property texts are not UTF-8, or whose tables are nested without end. Such a message would come
//! again to the next consumer, and the next, and none would get past it.
//!
//! Nothing changes its length. In a short text that is not UTF-8 every byte that is not ASCII
//! becomes `?`; a table or list nested too deep becomes the bytes it is made of. Pure.

/// Deepest table or list that is left as it is.
const DEPTH_MAX: usize = 32;
/// The AMQP field type of bytes; they begin with their length, as tables and lists do.
const BYTES: u8 = b'x';

/// The properties of a message, in the order of their flags, from the highest bit on.
const PROPERTIES: [Kind; 14] = [
    Kind::Short,    // content type
    Kind::Short,    // content encoding
    Kind::Table,    // headers
    Kind::Fixed(1), // delivery mode
    Kind::Fixed(1), // priority
    Kind::Short,    // correlation id
    Kind::Short,    // reply to
    Kind::Short,    // expiration
    Kind::Short,    // message id
    Kind::Fixed(8), // timestamp
    Kind::Short,    // type
    Kind::Short,    // user id
    Kind::Short,    // app id
    Kind::Short,    // cluster id
];

/// How a property is written.
#[derive(Clone, Copy)]
enum Kind {
    Short,
    Table,
    Fixed(usize),
}

/// Mends the payload of a content header frame. `None` when it ends too early or holds what is not
/// known; what came before is mended then, too.
pub(super) fn mend_properties(payload: &mut [u8]) -> Option<()> {
    let mut walk = Walk { payload, at: 0 };
    // Class, weight and the size of the body.
    walk.skip(2 + 2 + 8)?;
    let flags = u16::from_be_bytes(walk.take()?);
    for (place, kind) in PROPERTIES.into_iter().enumerate() {
        if flags & (0x8000 >> place) == 0 {
            continue;
        }
        match kind {
            Kind::Short => walk.short()?,
            Kind::Table => walk.table(0)?,
            Kind::Fixed(size) => walk.skip(size)?,
        }
    }
    Some(())
}

/// Mends the payload of a method frame where it is `basic.deliver` or `basic.get-ok`: the exchange
/// and the routing key are the publisher's words.
pub(super) fn mend_delivery(payload: &mut [u8]) -> Option<()> {
    let has_consumer = match payload.get(..4)? {
        [0, 60, 0, 60] => true,
        [0, 60, 0, 71] => false,
        _ => return None,
    };
    let mut walk = Walk { payload, at: 4 };
    if has_consumer {
        walk.short()?;
    }
    walk.skip(8 + 1)?;
    walk.short()?;
    walk.short()
}

struct Walk<'a> {
    payload: &'a mut [u8],
    at: usize,
}

impl Walk<'_> {
    fn skip(&mut self, count: usize) -> Option<()> {
        let end = self.at.checked_add(count)?;
        if end > self.payload.len() {
            return None;
        }
        self.at = end;
        Some(())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let begin = self.at;
        self.skip(N)?;
        self.payload.get(begin..self.at)?.try_into().ok()
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(u32::from_be_bytes(self.take()?)).ok()
    }

    fn short(&mut self) -> Option<()> {
        let [length] = self.take()?;
        let begin = self.at;
        self.skip(length.into())?;
        let text = self.payload.get_mut(begin..self.at)?;
        if std::str::from_utf8(text).is_err() {
            for byte in text.iter_mut().filter(|byte| !byte.is_ascii()) {
                *byte = b'?';
            }
        }
        Some(())
    }

    fn table(&mut self, depth: usize) -> Option<()> {
        let length = self.length()?;
        let end = self.at.checked_add(length)?;
        while self.at < end {
            self.short()?;
            self.value(depth)?;
        }
        (self.at == end).then_some(())
    }

    fn list(&mut self, depth: usize) -> Option<()> {
        let length = self.length()?;
        let end = self.at.checked_add(length)?;
        while self.at < end {
            self.value(depth)?;
        }
        (self.at == end).then_some(())
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        let place = self.at;
        let [kind] = self.take()?;
        match kind {
            b'F' | b'A' if depth >= DEPTH_MAX => {
                *self.payload.get_mut(place)? = BYTES;
                let length = self.length()?;
                self.skip(length)
            }
            b'F' => self.table(depth + 1),
            b'A' => self.list(depth + 1),
            b'S' | BYTES => {
                let length = self.length()?;
                self.skip(length)
            }
            b'V' => Some(()),
            b't' | b'b' | b'B' => self.skip(1),
            b's' | b'u' | b'U' => self.skip(2),
            b'I' | b'i' | b'f' => self.skip(4),
            b'D' => self.skip(5),
            b'l' | b'L' | b'd' | b'T' => self.skip(8),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u16, properties: &[u8]) -> Vec<u8> {
        let mut payload = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        payload.extend(flags.to_be_bytes());
        payload.extend(properties);
        payload
    }

    #[test]
    fn texts_that_are_not_utf8_are_mended_and_all_else_is_left() {
        // Content type, headers, priority, timestamp, application.
        let properties = |kind: &[u8], name: &[u8]| {
            let mut table = vec![u8::try_from(name.len()).unwrap()];
            table.extend(name);
            table.extend(b"S\0\0\0\x02\xff\xfe");
            let mut bytes = vec![u8::try_from(kind.len()).unwrap()];
            bytes.extend(kind);
            bytes.extend(u32::try_from(table.len()).unwrap().to_be_bytes());
            bytes.extend(table);
            bytes.extend([9, 0, 0, 0, 0, 0x69, 0xff, 0xff, 0xff]);
            bytes.extend("\u{2}é".as_bytes());
            header(0x8000 | 0x2000 | 0x0800 | 0x0040 | 0x0008, &bytes)
        };
        let mut mended = properties(b"a\xff\xfeb", b"\x80k");
        assert_eq!(mend_properties(&mut mended), Some(()));
        assert_eq!(mended, properties(b"a??b", b"?k"));
        let good = properties("é".as_bytes(), b"k");
        let mut same = good.clone();
        assert_eq!(mend_properties(&mut same), Some(()));
        assert_eq!(same, good);
    }

    #[test]
    fn what_is_nested_too_deep_becomes_bytes() {
        let mut table = Vec::new();
        for _ in 0..10_000 {
            let mut outer = vec![b'A'];
            outer.extend(u32::try_from(table.len()).unwrap().to_be_bytes());
            outer.extend(&table);
            table = outer;
        }
        let mut entry = vec![1, b'n'];
        entry.extend(&table);
        let mut bytes = u32::try_from(entry.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(&entry);
        let mut payload = header(0x2000, &bytes);
        assert_eq!(mend_properties(&mut payload), Some(()));
        let kinds = payload[20..].iter().step_by(5);
        assert_eq!(kinds.clone().take_while(|kind| **kind == b'A').count(), 32);
        assert_eq!(kinds.copied().nth(32), Some(BYTES));
    }

    #[test]
    fn the_publishers_words_in_a_delivery_are_mended() {
        let deliver: &[u8] = b"\0\x3c\0\x3c\x01t\0\0\0\0\0\0\0\xff\x01";
        let get_ok: &[u8] = b"\0\x3c\0\x47\0\0\0\0\0\0\0\xff\x01";
        let frame = |begin: &[u8], exchange: &[u8], key: &[u8]| {
            let mut payload = begin.to_vec();
            for text in [exchange, key] {
                payload.push(u8::try_from(text.len()).unwrap());
                payload.extend(text);
            }
            payload
        };
        for begin in [deliver, get_ok] {
            let mut payload = frame(begin, b"\xffx", b"k\xff");
            assert_eq!(mend_delivery(&mut payload), Some(()));
            assert_eq!(payload, frame(begin, b"?x", b"k?"));
        }
        let mut other = b"\0\x3c\0\x50\xff\xff".to_vec();
        assert_eq!(mend_delivery(&mut other), None);
        assert_eq!(other, b"\0\x3c\0\x50\xff\xff");
    }

    #[test]
    fn no_bytes_make_it_go_astray() {
        proptest::proptest!(|(bytes: Vec<u8>, flags: u16)| {
            let mut payload = header(flags, &bytes);
            let before = payload.len();
            let _ = mend_properties(&mut payload);
            let mut delivery = [b"\0\x3c\0\x3c".as_slice(), &bytes].concat();
            let _ = mend_delivery(&mut delivery);
            assert_eq!(payload.len(), before);
        });
    }
}
