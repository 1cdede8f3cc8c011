// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Answers that are larger than the room that their callers had for them.
//!
//! Some hosts are asked with a buffer for the answer, whose size is a guess. An answer that does
//! not fit waits here until the caller fetches it, so that no command is ever carried out twice
//! because of its answer. A caller that never comes costs no more than the limits.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use opte_api::OpteError;
use opte_api::frame::{Fetch, HEADER_LEN, Kept, MAX_RESPONSE, encode_answer, encode_kept};

/// Most answers that wait.
pub const MAX_KEPT: usize = 16;
/// Most bytes of them: the largest answer fits.
pub const MAX_KEPT_BYTES: usize = MAX_RESPONSE as usize + HEADER_LEN;

/// Where answers wait, the oldest first.
#[derive(Default)]
pub(crate) struct Shelf {
    answers: VecDeque<(u64, Vec<u8>)>,
    /// Number of answers that ever came here; the ticket of each is its number.
    kept: u64,
    lost: u64,
}

impl Shelf {
    /// The answer if it fits in `room`, or where it waits.
    pub fn fit(&mut self, answer: Vec<u8>, room: usize) -> Vec<u8> {
        if answer.len() <= room {
            return answer;
        }
        self.kept += 1;
        let receipt = receipt(self.kept, &answer);
        self.answers.push_back((self.kept, answer));
        while self.answers.len() > MAX_KEPT || self.bytes() > MAX_KEPT_BYTES {
            self.answers.pop_front();
            self.lost += 1;
        }
        receipt
    }

    /// Gives an answer away, once. One that does not fit again goes on waiting.
    pub fn fetch(&mut self, Fetch { ticket }: Fetch, room: usize) -> Vec<u8> {
        let place = self.answers.iter().position(|(known, _)| *known == ticket);
        let fits = place.and_then(|at| self.answers.get(at)).map(|(_, answer)| {
            if answer.len() <= room { Ok(()) } else { Err(receipt(ticket, answer)) }
        });
        match fits {
            Some(Err(receipt)) => receipt,
            Some(Ok(())) => {
                let answer = place.and_then(|at| self.answers.remove(at));
                answer.map(|(_, answer)| answer).unwrap_or_default()
            }
            None => encode_answer::<()>(&Err(OpteError::not_found("kept answer", ticket))),
        }
    }

    /// Names and values for dumps.
    pub fn counters(&self) -> [(&'static str, u64); 2] {
        [("answers_kept", self.kept), ("answers_lost", self.lost)]
    }

    fn bytes(&self) -> usize {
        self.answers.iter().map(|(_, answer)| answer.len()).sum()
    }
}

fn receipt(ticket: u64, answer: &[u8]) -> Vec<u8> {
    // A frame is at most as long as its header can say.
    encode_kept(Kept { ticket, len: u32::try_from(answer.len()).unwrap_or(u32::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use opte_api::frame::{Header, SMALLEST_ROOM, Status, decode};

    fn kept(frame: &[u8]) -> Kept {
        let (head, body) = frame.split_first_chunk().unwrap();
        let header = Header::from_bytes(*head, SMALLEST_ROOM).unwrap();
        assert_eq!(header.code, Status::Kept as u16);
        assert!(frame.len() <= SMALLEST_ROOM as usize);
        decode(body).unwrap()
    }

    #[test]
    fn an_answer_waits_until_it_is_fetched_once() {
        let mut shelf = Shelf::default();
        assert_eq!(shelf.fit(vec![7; 100], 100), [7; 100]);
        let Kept { ticket, len } = kept(&shelf.fit(vec![8; 101], 100));
        assert_eq!(len, 101);
        // Too little room again: it goes on waiting.
        assert_eq!(kept(&shelf.fetch(Fetch { ticket }, 100)).ticket, ticket);
        assert_eq!(shelf.fetch(Fetch { ticket }, 101), [8; 101]);
        let gone = shelf.fetch(Fetch { ticket }, 101);
        assert_eq!(gone, encode_answer::<()>(&Err(OpteError::not_found("kept answer", ticket))));
        assert_eq!(shelf.counters(), [("answers_kept", 1), ("answers_lost", 0)]);
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let mut shelf = Shelf::default();
        let tickets: Vec<u64> =
            (0..=MAX_KEPT).map(|_| kept(&shelf.fit(vec![0; 99], 1)).ticket).collect();
        assert_eq!(shelf.counters()[1], ("answers_lost", 1));
        assert_ne!(shelf.fetch(Fetch { ticket: tickets[0] }, 99), [0; 99]);
        assert_eq!(shelf.fetch(Fetch { ticket: tickets[1] }, 99), [0; 99]);
    }
}
