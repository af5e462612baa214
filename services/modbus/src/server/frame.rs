//! The bytes of Modbus TCP as who answers sees them: the header, the four ways to read, and what goes back.
//!
//! No socket. Writing functions do not exist here, so that nothing can be written by mistake.

use crate::link::Answer;
use crate::register::{Kind, Span};

/// Bytes before the protocol data unit (MODBUS Messaging on TCP/IP V1.0b, 3.1.3).
pub const HEADER_BYTES: usize = 7;
/// Bytes of the longest protocol data unit (MAP 4.1).
pub const MAX_PDU_BYTES: usize = 253;

/// The codes of MAP 7 with which reading is refused.
pub mod exception {
    /// The function is not one that reads.
    pub const ILLEGAL_FUNCTION: u8 = 1;
    /// Something of what was asked for is not there.
    pub const ILLEGAL_ADDRESS: u8 = 2;
    /// Nothing was asked for, or too much, or the request is not as long as it should be.
    pub const ILLEGAL_VALUE: u8 = 3;
    /// There is no such unit behind this address.
    pub const NO_SUCH_UNIT: u8 = 11;
}

/// What stands before a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The client's number for it, which the answer repeats.
    pub transaction: u16,
    /// Whom it is for.
    pub unit: u8,
    /// Bytes that follow: 1 to [`MAX_PDU_BYTES`].
    pub pdu_bytes: usize,
}

impl Header {
    /// Reads one. `None` if it is not Modbus: there is no way to find where the next one would begin.
    pub fn parse(bytes: [u8; HEADER_BYTES]) -> Option<Self> {
        let [t0, t1, p0, p1, l0, l1, unit] = bytes;
        // The length counts the unit too.
        let pdu_bytes = usize::from(u16::from_be_bytes([l0, l1])).checked_sub(1)?;
        let is_modbus = [p0, p1] == [0, 0] && (1..=MAX_PDU_BYTES).contains(&pdu_bytes);
        is_modbus.then_some(Self { transaction: u16::from_be_bytes([t0, t1]), unit, pdu_bytes })
    }
}

/// A request that is answered with an exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The request's function.
    pub function: u8,
    /// Which of [`exception`].
    pub code: u8,
}

/// The function that reads a kind.
pub fn function(kind: Kind) -> u8 {
    match kind {
        Kind::Coil => 1,
        Kind::Discrete => 2,
        Kind::Holding => 3,
        Kind::Input => 4,
    }
}

/// What a request asks for.
///
/// # Errors
/// The exception that answers it (MAP 6.1 to 6.4, the state diagrams).
pub fn request(pdu: &[u8]) -> Result<Span, Refusal> {
    let code = pdu.first().copied().unwrap_or(0);
    let refuse = |exception| Refusal { function: code, code: exception };
    let kinds = Kind::WORDS.into_iter().map(|(_, kind)| kind);
    let kind = kinds.into_iter().find(|kind| function(*kind) == code);
    let kind = kind.ok_or(refuse(exception::ILLEGAL_FUNCTION))?;
    let &[_, s0, s1, c0, c1] = pdu else { return Err(refuse(exception::ILLEGAL_VALUE)) };
    let (start, count) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([c0, c1]));
    if !(1..=kind.most_per_request()).contains(&count) {
        return Err(refuse(exception::ILLEGAL_VALUE));
    }
    Span::new(kind, start, count).ok_or(refuse(exception::ILLEGAL_ADDRESS))
}

/// The protocol data unit of an answer: function, bytes, elements.
pub(crate) fn answer(kind: Kind, answer: &Answer) -> Vec<u8> {
    let mut pdu = vec![function(kind), 0];
    match answer {
        Answer::Bits(bits) => pdu.extend(bits.chunks(8).map(|eight| {
            let each = eight.iter().enumerate();
            each.fold(0, |byte, (index, bit)| byte | u8::from(*bit) << index)
        })),
        Answer::Words(words) => pdu.extend(words.iter().flat_map(|word| word.to_be_bytes())),
    }
    // At most 250 bytes: no request asks for more.
    pdu[1] = (pdu.len() - 2) as u8;
    pdu
}

/// The protocol data unit of an exception.
pub fn refusal(refusal: Refusal) -> Vec<u8> {
    vec![refusal.function | 0x80, refusal.code]
}

/// A protocol data unit with its header.
pub fn frame(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let length = pdu.len() as u16 + 1;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + pdu.len());
    bytes.extend(transaction.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(length.to_be_bytes());
    bytes.push(unit);
    bytes.extend(pdu);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(pdu: &[u8]) -> u8 {
        request(pdu).unwrap_err().code
    }

    #[test]
    fn a_header_is_modbus_or_nothing() {
        let header = Header { transaction: 0x0102, unit: 9, pdu_bytes: 5 };
        assert_eq!(Header::parse([1, 2, 0, 0, 0, 6, 9]), Some(header));
        for bad in [
            [1, 2, 0, 1, 0, 6, 9],
            [1, 2, 0, 0, 0, 1, 9],
            [1, 2, 0, 0, 0, 0, 9],
            [1, 2, 0, 0, 0, 255, 9],
            [1, 2, 0, 0, 1, 6, 9],
        ] {
            assert_eq!(Header::parse(bad), None, "{bad:?}");
        }
        assert!(Header::parse([1, 2, 0, 0, 0, 254, 9]).is_some());
    }

    #[test]
    fn reading_is_understood_and_everything_else_refused_with_the_standards_exception() {
        let span = Span::new(Kind::Input, 0x0102, 125).unwrap();
        assert_eq!(request(&[4, 1, 2, 0, 125]), Ok(span));
        assert_eq!(request(&[1, 0, 0, 7, 208]).map(Span::count), Ok(2_000));
        assert_eq!(code(&[6, 0, 0, 0, 1]), exception::ILLEGAL_FUNCTION);
        assert_eq!(code(&[16, 0, 0, 0, 1, 2, 0, 0]), exception::ILLEGAL_FUNCTION);
        assert_eq!(code(&[4, 0, 0, 0, 126]), exception::ILLEGAL_VALUE);
        assert_eq!(code(&[1, 0, 0, 7, 209]), exception::ILLEGAL_VALUE);
        assert_eq!(code(&[4, 0, 0, 0, 0]), exception::ILLEGAL_VALUE);
        assert_eq!(code(&[4, 0, 0, 0]), exception::ILLEGAL_VALUE);
        assert_eq!(code(&[4, 0, 0, 0, 1, 0]), exception::ILLEGAL_VALUE);
        assert_eq!(code(&[4, 255, 255, 0, 2]), exception::ILLEGAL_ADDRESS);
        assert_eq!(request(&[4, 255, 255, 0, 1]).map(Span::end), Ok(65_536));
    }

    #[test]
    fn the_examples_of_the_standard() {
        // MAP 6.1: coils 20 to 38 of a device, with 1 for on, and what it answers.
        assert_eq!(request(&[1, 0, 0x13, 0, 0x13]), Ok(Span::new(Kind::Coil, 19, 19).unwrap()));
        let bits: Vec<bool> = [0xCD_u8, 0x6B, 0x05]
            .iter()
            .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1))
            .take(19)
            .collect();
        assert_eq!(answer(Kind::Coil, &Answer::Bits(bits)), [1, 3, 0xCD, 0x6B, 0x05]);
        // MAP 6.3: registers 108 to 110.
        let words = Answer::Words(vec![0x022B, 0, 0x0064]);
        assert_eq!(answer(Kind::Holding, &words), [3, 6, 2, 0x2B, 0, 0, 0, 0x64]);
        assert_eq!(refusal(Refusal { function: 4, code: 2 }), [0x84, 2]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_span_within_its_bounds_or_a_refusal_that_fits(
            pdu in proptest::collection::vec(any::<u8>(), 0..12),
        ) {
            match request(&pdu) {
                Ok(span) => {
                    prop_assert!(span.count() <= span.kind().most_per_request());
                    prop_assert_eq!(function(span.kind()), pdu[0]);
                }
                Err(refused) => {
                    prop_assert!((1..=3).contains(&refused.code));
                    prop_assert_eq!(refused.function, pdu.first().copied().unwrap_or(0));
                }
            }
        }

        #[test]
        fn a_frame_is_read_as_it_was_written(
            transaction: u16,
            unit: u8,
            pdu in proptest::collection::vec(any::<u8>(), 1..MAX_PDU_BYTES + 1),
        ) {
            let bytes = frame(transaction, unit, &pdu);
            let (header, rest) = bytes.split_first_chunk().unwrap();
            let header = Header::parse(*header).unwrap();
            prop_assert_eq!(header, Header { transaction, unit, pdu_bytes: pdu.len() });
            prop_assert_eq!(rest, &pdu[..]);
        }
    }
}
