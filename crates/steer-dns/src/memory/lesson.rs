use std::net::IpAddr;
use std::time::Duration;

use steer_core::address::HostName;

use crate::codec::{Data, Kind, Message, Name, Question, Record, ResponseCode};

/// What an answer teaches: the addresses of the name that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lesson {
    pub(crate) name: HostName,
    /// Each with the time for which it holds.
    pub(crate) addresses: Vec<(IpAddr, Duration)>,
}

impl Lesson {
    /// `None` where nothing is to be learned.
    ///
    /// The program will say the name that it asked for, whatever names the answer goes through.
    pub(crate) fn of(question: &Question, answer: &Message) -> Option<Self> {
        let service = matches!(question.kind, Kind::HTTPS | Kind::SVCB);
        let name = if service {
            question.name.service_host()
        } else {
            question.name.host()
        }?;
        if answer.header.response != ResponseCode::NO_ERROR {
            return None;
        }
        let mut names = aliases(&question.name, &answer.answers);
        let mut told: Vec<_> = answer.answers.iter().collect();
        if service {
            // The addresses of who serves it may come along (RFC 9460, section 4.1).
            names.extend(targets(&names, &answer.answers));
            told.extend(&answer.additionals);
        }
        let addresses: Vec<_> = told
            .into_iter()
            .filter(|record| names.contains(&&record.owner))
            .flat_map(|record| {
                let ttl = Duration::from_secs(record.ttl.into());
                let addresses = record.data.addresses().into_iter();
                addresses.map(move |address| (address.to_canonical(), ttl))
            })
            .take(ADDRESSES_MOST)
            .collect();
        (!addresses.is_empty()).then_some(Self { name, addresses })
    }
}

/// The name and what it stands for, in whichever order the records come.
fn aliases<'a>(name: &'a Name, records: &'a [Record]) -> Vec<&'a Name> {
    let mut names = vec![name];
    let alias = |of: &Name| {
        records.iter().find_map(|record| match &record.data {
            Data::Cname(target) if record.owner == *of => Some(target),
            _ => None,
        })
    };
    let mut last = name;
    while let Some(target) = alias(last) {
        if names.len() > ALIASES_MOST || names.contains(&target) {
            break;
        }
        names.push(target);
        last = target;
    }
    names
}

/// Who serves the names.
fn targets<'a>(names: &[&Name], records: &'a [Record]) -> Vec<&'a Name> {
    let targets = records.iter().filter_map(|record| match &record.data {
        Data::Https(service) | Data::Svcb(service) if names.contains(&&record.owner) => {
            Some(&service.target)
        }
        _ => None,
    });
    targets.take(ALIASES_MOST).collect()
}

/// Resolvers follow no more aliases than this.
const ALIASES_MOST: usize = 16;

/// No honest answer has more, and one answer must not take a client's whole share.
const ADDRESSES_MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Class, Header, Param, Svcb};

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn record(owner: &str, data: Data) -> Record {
        Record {
            owner: name(owner),
            class: Class::IN,
            ttl: 300,
            data,
        }
    }

    fn address(owner: &str, ip: &str) -> Record {
        record(owner, Data::address(ip.parse().unwrap()))
    }

    fn learned(
        kind: Kind,
        asked: &str,
        answers: Vec<Record>,
        additionals: Vec<Record>,
    ) -> Option<(String, Vec<String>)> {
        let question = Question {
            name: name(asked),
            kind,
            class: Class::IN,
        };
        let mut message = Message::new(Header::query(1).answer(ResponseCode::NO_ERROR));
        message.answers = answers;
        message.additionals = additionals;
        let Lesson { name, addresses } = Lesson::of(&question, &message)?;
        let addresses = addresses.iter().map(|(ip, _)| ip.to_string()).collect();
        Some((name.to_string(), addresses))
    }

    #[test]
    fn the_name_asked_for_is_remembered_through_aliases_in_any_order() {
        let answers = vec![
            address("c.example", "192.0.2.1"),
            record("b.example", Data::Cname(name("C.example"))),
            record("A.example", Data::Cname(name("b.example"))),
            address("other.example", "192.0.2.9"),
        ];
        let (name, addresses) = learned(Kind::A, "a.EXAMPLE", answers, Vec::new()).unwrap();
        assert_eq!(name, "a.example");
        assert_eq!(addresses, ["192.0.2.1"]);
    }

    #[test]
    fn aliases_that_go_round_end() {
        let answers = vec![
            record("a.example", Data::Cname(name("b.example"))),
            record("b.example", Data::Cname(name("a.example"))),
            address("b.example", "192.0.2.1"),
        ];
        let (_, addresses) = learned(Kind::A, "a.example", answers, Vec::new()).unwrap();
        assert_eq!(addresses, ["192.0.2.1"]);
    }

    #[test]
    fn hints_and_the_addresses_of_the_server_count_for_the_origin() {
        let service = Svcb {
            priority: 1,
            target: name("cdn.example"),
            params: vec![Param::Ipv4Hint(vec!["192.0.2.1".parse().unwrap()])],
        };
        let (name, addresses) = learned(
            Kind::HTTPS,
            "_8443._https.a.example",
            vec![record("_8443._https.a.example", Data::Https(service))],
            vec![
                address("cdn.example", "2001:db8::1"),
                address("x.example", "192.0.2.9"),
            ],
        )
        .unwrap();
        assert_eq!(name, "a.example");
        assert_eq!(addresses, ["192.0.2.1", "2001:db8::1"]);
    }

    #[test]
    fn nothing_is_learned_of_other_names_or_of_what_is_no_host() {
        let answers = || vec![address("b.example", "192.0.2.1")];
        assert_eq!(learned(Kind::A, "a.example", answers(), Vec::new()), None);
        let odd = vec![address("a b.example", "192.0.2.1")];
        assert_eq!(learned(Kind::A, "a b.example", odd, Vec::new()), None);
        // What stands beside an answer for an address proves nothing.
        assert_eq!(learned(Kind::A, "b.example", Vec::new(), answers()), None);
    }
}
