use super::edns::Edns;
use super::header::Header;
use super::malformed::Malformed;
use super::name::Name;
use super::question::{Kind, Question};
use super::record::{Head, Record};
use super::wire::{Reader, Writer};

/// A DNS message, without the length that goes before it on TCP.
///
/// ```
/// use steer_dns::codec::{Class, Header, Kind, Message, Question};
/// let mut query = Message::new(Header::query(7));
/// query.questions.push(Question {
///     name: "example.com".parse()?,
///     kind: Kind::A,
///     class: Class::IN,
/// });
/// let bytes = query.to_bytes()?;
/// assert_eq!(Message::parse(&bytes)?, query);
/// # Ok::<(), steer_dns::codec::Malformed>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What goes before all.
    pub header: Header,
    /// What is asked.
    pub questions: Vec<Question>,
    /// What answers it.
    pub answers: Vec<Record>,
    /// Who would know, or that there is nothing.
    pub authorities: Vec<Record>,
    /// What may help, without the OPT record.
    pub additionals: Vec<Record>,
    /// The OPT record.
    pub edns: Option<Edns>,
}

impl Message {
    /// A message that holds nothing yet.
    #[must_use]
    pub const fn new(header: Header) -> Self {
        Self {
            header,
            questions: Vec::new(),
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            edns: None,
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// The bytes are not exactly one message.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let mut message = Self::new(Header::parse(&mut reader)?);
        let questions = reader.short()?;
        let answers = reader.short()?;
        let authorities = reader.short()?;
        let additionals = reader.short()?;
        for _ in 0..questions {
            message.questions.push(Question::parse(&mut reader)?);
        }
        message.answers = message.records(answers, Section::Other, &mut reader)?;
        message.authorities = message.records(authorities, Section::Other, &mut reader)?;
        message.additionals = message.records(additionals, Section::Additional, &mut reader)?;
        if reader.is_empty() {
            Ok(message)
        } else {
            Err(Malformed::Trailing)
        }
    }

    fn records(
        &mut self,
        count: u16,
        section: Section,
        reader: &mut Reader<'_>,
    ) -> Result<Vec<Record>, Malformed> {
        // Not allocated by the count, which may promise more than there is.
        let mut records = Vec::new();
        for _ in 0..count {
            let (head, mut data) = Head::parse(reader)?;
            if head.kind == Kind::OPT {
                let misplaced = section == Section::Other || head.owner != Name::root();
                if misplaced || self.edns.is_some() {
                    return Err(Malformed::Opt);
                }
                self.edns = Some(Edns::parse(head.class, head.ttl, &mut data)?);
            } else {
                records.push(Record::of(head, &mut data)?);
            }
        }
        Ok(records)
    }

    /// The message as bytes, names compressed where that is allowed.
    ///
    /// # Errors
    /// It would be larger than 65,535 bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Malformed> {
        let Self {
            header,
            questions,
            answers,
            authorities,
            additionals,
            edns,
        } = self;
        let count = |length: usize| u16::try_from(length).map_err(|_| Malformed::TooLarge);
        let mut writer = Writer::default();
        header.write(&mut writer);
        writer.short(count(questions.len())?);
        writer.short(count(answers.len())?);
        writer.short(count(authorities.len())?);
        writer.short(count(additionals.len() + usize::from(edns.is_some()))?);
        for question in questions {
            question.write(&mut writer);
        }
        for record in [answers, authorities, additionals].into_iter().flatten() {
            record.write(&mut writer)?;
        }
        if let Some(edns) = edns {
            writer.name(&Name::root());
            writer.short(Kind::OPT.0);
            writer.short(edns.payload);
            writer.long(edns.ttl());
            let mut written = Ok(());
            writer.sized(|writer| written = edns.write_data(writer))?;
            written?;
        }
        writer.finish()
    }
}

/// Where records stand; an OPT record stands in one place only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Additional,
    Other,
}
