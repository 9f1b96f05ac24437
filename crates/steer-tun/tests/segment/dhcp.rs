//! DHCP, by another codec.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use steer_tun::packet::{Reason, parse};
use steer_tun::segment::{HEADER, Mac, Segment, Setup, Taken};

use crate::scene::{GATEWAY4, STATION, assert_ours, destination, frame, setup, take, udp4};

const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const ALL: Mac = [0xff; 6];

/// A client of one station.
struct Client<'a> {
    segment: &'a Segment,
    mac: Mac,
    now: Instant,
}

impl<'a> Client<'a> {
    fn new(segment: &'a Segment, mac: Mac) -> Self {
        let now = Instant::now();
        Self { segment, mac, now }
    }

    fn message(&self, kind: MessageType) -> Message {
        let mut message = Message::new_with_id(0x1234_5678, NONE, NONE, NONE, NONE, &self.mac);
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        message
    }

    /// Sends a message from this address to all, and gives what comes back.
    fn send(&self, message: &Message) -> (Taken, Option<(Mac, Ipv4Addr, Message)>) {
        let bytes = message.to_vec().expect("another codec's own message");
        let packet = udp4((message.ciaddr(), 68), (Ipv4Addr::BROADCAST, 67), &bytes);
        let (taken, answers) = take(
            self.segment,
            &frame(ALL, self.mac, 0x0800, &packet),
            self.now,
        );
        assert!(answers.len() <= 1, "one answer a message");
        (taken, answers.first().map(|answer| read(answer)))
    }

    fn discover(&self) -> Option<Ipv4Addr> {
        let (_, answer) = self.send(&self.message(MessageType::Discover));
        let (_, _, offer) = answer?;
        assert_eq!(offer.opts().msg_type(), Some(MessageType::Offer));
        Some(offer.yiaddr())
    }

    fn request(&self, address: Ipv4Addr) -> Option<MessageType> {
        let mut message = self.message(MessageType::Request);
        let options = message.opts_mut();
        options.insert(DhcpOption::RequestedIpAddress(address));
        options.insert(DhcpOption::ServerIdentifier(GATEWAY4));
        let (_, answer) = self.send(&message);
        answer.and_then(|(_, _, answer)| answer.opts().msg_type())
    }

    fn bound(&self) -> Ipv4Addr {
        let address = self.discover().expect("an offer");
        assert_eq!(self.request(address), Some(MessageType::Ack));
        address
    }
}

/// The station and address that a frame goes to, and its message.
fn read(frame: &[u8]) -> (Mac, Ipv4Addr, Message) {
    assert_ours(frame);
    let packet = &frame[HEADER..];
    let parsed = parse(packet).expect("a packet of ours");
    let udp = &packet[parsed.start..parsed.end];
    assert_eq!(udp[..4], [0, 67, 0, 68]);
    let pseudo =
        steer_tun::packet::checksum::pseudo(parsed.source, parsed.destination, 17, udp.len());
    let sum = pseudo + steer_tun::packet::checksum::sum(udp);
    assert_eq!(steer_tun::packet::checksum::fold(sum), 0xffff);
    let std::net::IpAddr::V4(to) = parsed.destination else {
        panic!("{parsed:?}")
    };
    let message =
        Message::decode(&mut Decoder::new(&udp[8..])).expect("a message that others read");
    (destination(frame), to, message)
}

fn mac(n: u16) -> Mac {
    let [high, low] = n.to_be_bytes();
    [2, 0, 0, 1, high, low]
}

#[test]
fn an_offer_says_all_that_another_codec_asks_for() {
    let segment = Segment::new(&setup());
    let client = Client::new(&segment, STATION);
    let mut discover = client.message(MessageType::Discover);
    discover
        .opts_mut()
        .insert(DhcpOption::ClientIdentifier(b"\x01client".to_vec()));
    let (taken, answer) = client.send(&discover);
    assert_eq!(taken, Taken::Answered);
    let (mac, to, offer) = answer.expect("an offer");
    assert_eq!((mac, to), (STATION, offer.yiaddr()));
    assert_eq!(offer.opcode(), Opcode::BootReply);
    assert_eq!(offer.xid(), 0x1234_5678);
    assert_eq!(offer.chaddr(), STATION);
    let option = |code| offer.opts().get(code).cloned();
    let expected = [
        (
            OptionCode::MessageType,
            DhcpOption::MessageType(MessageType::Offer),
        ),
        (
            OptionCode::ServerIdentifier,
            DhcpOption::ServerIdentifier(GATEWAY4),
        ),
        (
            OptionCode::SubnetMask,
            DhcpOption::SubnetMask([255, 255, 255, 0].into()),
        ),
        (OptionCode::Router, DhcpOption::Router(vec![GATEWAY4])),
        (
            OptionCode::DomainNameServer,
            DhcpOption::DomainNameServer(vec![[10, 9, 0, 53].into()]),
        ),
        (OptionCode::InterfaceMtu, DhcpOption::InterfaceMtu(1400)),
        (
            OptionCode::AddressLeaseTime,
            DhcpOption::AddressLeaseTime(3600),
        ),
        (
            OptionCode::ClientIdentifier,
            DhcpOption::ClientIdentifier(b"\x01client".to_vec()),
        ),
    ];
    for (code, value) in expected {
        assert_eq!(option(code), Some(value));
    }
}

#[test]
fn answers_go_where_the_client_hears_them() {
    let segment = Segment::new(&setup());
    let client = Client::new(&segment, STATION);
    let mut deaf = client.message(MessageType::Discover);
    deaf.set_flags(Flags::default().set_broadcast());
    let (_, answer) = client.send(&deaf);
    let (mac, to, _) = answer.expect("an offer");
    assert_eq!((mac, to), (ALL, Ipv4Addr::BROADCAST));
    // Who renews has an address.
    let own = client.bound();
    let mut renewing = client.message(MessageType::Request);
    renewing.set_ciaddr(own);
    let (_, answer) = client.send(&renewing);
    let (mac, to, ack) = answer.expect("an acknowledgement");
    assert_eq!(
        (mac, to, ack.yiaddr(), ack.ciaddr()),
        (STATION, own, own, own)
    );
}

#[test]
fn every_station_of_a_network_gets_an_address_of_its_own_and_then_nobody() {
    let mut small = setup();
    small.gateways[0].1 = 28;
    let segment = Segment::new(&small);
    let mut given: Vec<_> = (0..13)
        .map(|n| Client::new(&segment, mac(n)).bound())
        .collect();
    given.sort();
    let expected: Vec<_> = (2..15).map(|n| Ipv4Addr::new(10, 9, 0, n)).collect();
    assert_eq!(given, expected);
    let late = Client::new(&segment, mac(99));
    assert_eq!(late.discover(), None);
    let (taken, _) = late.send(&late.message(MessageType::Discover));
    assert_eq!(taken, Taken::Refused(Reason::Full));
    assert_eq!(
        late.request(Ipv4Addr::new(10, 9, 0, 2)),
        Some(MessageType::Nak)
    );
    // When leases have ended, the one that ended first is given away.
    let mut later = late;
    later.now += Duration::from_secs(3601);
    assert!(given.contains(&later.bound()));
}

#[test]
fn a_client_keeps_its_address_and_has_it_again_after_a_restart() {
    let segment = Segment::new(&setup());
    let mut client = Client::new(&segment, mac(7));
    let address = client.bound();
    client.now += Duration::from_secs(100_000);
    assert_eq!(client.bound(), address);
    let another = Segment::new(&setup());
    assert_eq!(Client::new(&another, mac(7)).discover(), Some(address));
    // It may also come with the address at once (RFC 2131, 4.3.2, INIT-REBOOT).
    let rebooted = Client::new(&another, mac(7));
    let mut message = rebooted.message(MessageType::Request);
    message
        .opts_mut()
        .insert(DhcpOption::RequestedIpAddress(address));
    let (_, answer) = rebooted.send(&message);
    assert_eq!(
        answer.expect("an answer").2.opts().msg_type(),
        Some(MessageType::Ack)
    );
}

#[test]
fn addresses_of_others_are_refused_to_all() {
    let segment = Segment::new(&setup());
    let owner = Client::new(&segment, mac(1)).bound();
    let client = Client::new(&segment, mac(2));
    let foreign = Ipv4Addr::new(192, 168, 1, 1);
    let whole = Ipv4Addr::new(10, 9, 0, 255);
    let network = Ipv4Addr::new(10, 9, 0, 0);
    for address in [owner, GATEWAY4, foreign, whole, network] {
        let mut message = client.message(MessageType::Request);
        message
            .opts_mut()
            .insert(DhcpOption::RequestedIpAddress(address));
        let (_, answer) = client.send(&message);
        let (mac, to, nak) = answer.expect("a refusal");
        assert_eq!(nak.opts().msg_type(), Some(MessageType::Nak), "{address}");
        assert_eq!((mac, to), (ALL, Ipv4Addr::BROADCAST));
    }
}

#[test]
fn an_address_in_use_is_not_offered_again() {
    let segment = Segment::new(&setup());
    let client = Client::new(&segment, mac(3));
    let address = client.bound();
    let mut decline = client.message(MessageType::Decline);
    decline
        .opts_mut()
        .insert(DhcpOption::RequestedIpAddress(address));
    assert_eq!(client.send(&decline).0, Taken::Answered);
    assert_ne!(client.bound(), address);
    // A station that has an address without having asked for it keeps it.
    let other = Client::new(&segment, mac(4));
    let offered = other.discover().expect("an offer");
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
    arp.extend(STATION);
    arp.extend(offered.octets());
    arp.extend([0; 6]);
    arp.extend(offered.octets());
    take(&segment, &frame(ALL, STATION, 0x0806, &arp), other.now);
    assert_eq!(other.request(offered), Some(MessageType::Nak));
    assert_ne!(other.discover(), Some(offered));
}

#[test]
fn an_offer_that_lost_is_given_to_another() {
    let mut tiny = setup();
    tiny.gateways[0].1 = 30;
    let segment = Segment::new(&tiny);
    let one = Client::new(&segment, mac(1));
    let two = Client { mac: mac(2), ..one };
    let only = one.discover().expect("the only address");
    assert_eq!(two.discover(), None);
    let mut elsewhere = one.message(MessageType::Request);
    elsewhere
        .opts_mut()
        .insert(DhcpOption::ServerIdentifier([10, 9, 0, 99].into()));
    assert_eq!(one.send(&elsewhere), (Taken::Answered, None));
    assert_eq!(two.bound(), only);
    // So is one that was given back, once somebody needs it.
    let mut release = two.message(MessageType::Release);
    release.set_ciaddr(only);
    assert_eq!(two.send(&release), (Taken::Answered, None));
    assert_eq!(one.bound(), only);
}

#[test]
fn who_has_an_address_is_told_the_rest() {
    let segment = Segment::new(&setup());
    let client = Client::new(&segment, STATION);
    let own = Ipv4Addr::new(10, 9, 0, 77);
    let mut inform = client.message(MessageType::Inform);
    inform.set_ciaddr(own);
    let (_, answer) = client.send(&inform);
    let (mac, to, ack) = answer.expect("an acknowledgement");
    assert_eq!((mac, to, ack.yiaddr()), (STATION, own, NONE));
    assert_eq!(ack.opts().get(OptionCode::AddressLeaseTime), None);
    assert!(ack.opts().get(OptionCode::Router).is_some());
}

#[test]
fn nobody_asks_for_another_station_or_by_a_relay() {
    let segment = Segment::new(&setup());
    let client = Client::new(&segment, STATION);
    let mut other = client.message(MessageType::Discover);
    other.set_chaddr(&mac(1));
    let mut relayed = client.message(MessageType::Discover);
    relayed.set_giaddr([10, 9, 0, 66]);
    for message in [other, relayed] {
        assert_eq!(
            client.send(&message),
            (Taken::Refused(Reason::Source), None)
        );
    }
}

#[test]
fn a_link_without_the_service_answers_nobody() {
    let setup = Setup {
        dhcp: false,
        ..setup()
    };
    let segment = Segment::new(&setup);
    let client = Client::new(&segment, STATION);
    let refused = (Taken::Refused(Reason::Destination), None);
    assert_eq!(client.send(&client.message(MessageType::Discover)), refused);
}
