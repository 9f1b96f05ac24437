//! Who asked what.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use crate::wire::Hop;

/// An echo request of a client, but for its sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) client: IpAddr,
    pub(super) id: u16,
    pub(super) destination: IpAddr,
}

/// The questions that are asked, each under a number of ours; of too many the oldest is forgotten.
#[derive(Debug)]
pub(super) struct Asked {
    questions: HashMap<u16, (Question, Hop)>,
    numbers: HashMap<Question, u16>,
    order: VecDeque<u16>,
    next: u16,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            questions: HashMap::new(),
            numbers: HashMap::new(),
            order: VecDeque::new(),
            // Not where other programs of the host begin.
            next: RandomState::new().hash_one(0) as u16,
        }
    }
}

impl Asked {
    /// The number under which a question is asked.
    pub(super) fn ask(&mut self, question: Question, hop: Hop) -> u16 {
        if let Some(number) = self.numbers.get(&question) {
            self.questions.insert(*number, (question, hop));
            return *number;
        }
        if self.order.len() >= MOST
            && let Some(oldest) = self.order.pop_front()
            && let Some((question, _)) = self.questions.remove(&oldest)
        {
            self.numbers.remove(&question);
        }
        // There are far more numbers than questions.
        while self.questions.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.questions.insert(number, (question, hop));
        self.numbers.insert(question, number);
        self.order.push_back(number);
        number
    }

    /// The question that has a number and went to that destination.
    pub(super) fn question(&self, number: u16, destination: IpAddr) -> Option<(Question, Hop)> {
        let found = self.questions.get(&number).copied();
        found.filter(|(question, _)| question.destination == destination)
    }
}

/// How many questions are remembered.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_one_number_and_the_oldest_is_forgotten() {
        let mut asked = Asked::default();
        let question = |n: u16| Question {
            client: "192.0.2.1".parse().unwrap(),
            id: n,
            destination: "198.51.100.7".parse().unwrap(),
        };
        let first = asked.ask(question(0), Hop::Host);
        assert_eq!(asked.ask(question(0), Hop::Station([1; 6])), first);
        let destination = question(0).destination;
        let known = asked.question(first, destination);
        assert_eq!(known, Some((question(0), Hop::Station([1; 6]))));
        assert_eq!(asked.question(first, question(0).client), None);
        for n in 1..=u16::MAX {
            let number = asked.ask(question(n), Hop::Host);
            assert_eq!(asked.question(number, destination).unwrap().0, question(n));
            assert!(asked.questions.len() <= MOST);
        }
        let sizes = (
            asked.questions.len(),
            asked.numbers.len(),
            asked.order.len(),
        );
        assert_eq!(sizes, (MOST, MOST, MOST));
    }
}
