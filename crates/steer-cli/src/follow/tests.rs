use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use steer::core::address::HostName;
use steer::proxy::upstream::Resolver;
use tokio::task::JoinHandle;

use super::*;

fn learner(pattern: &str, otherwise: OnFailure) -> (Learner, Following) {
    let patterns = [pattern.parse().unwrap()].to_vec();
    pair(BTreeMap::from([(NameSet::Included, patterns)]), otherwise)
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn learned(name: &str, last: u8) -> Learned {
    Learned {
        name: name.parse().unwrap(),
        addresses: vec![ip(last)],
    }
}

/// Rules that tell the test what they are to know, and do as it says.
#[derive(Debug)]
struct Watched {
    told: mpsc::UnboundedSender<Followed>,
    outcomes: tokio::sync::Mutex<mpsc::UnboundedReceiver<io::Result<()>>>,
}

#[derive(Debug)]
struct Test {
    told: mpsc::UnboundedReceiver<Followed>,
    outcomes: mpsc::UnboundedSender<io::Result<()>>,
}

fn rules() -> (Watched, Test) {
    let (told_tx, told) = mpsc::unbounded_channel();
    let (outcomes_tx, outcomes) = mpsc::unbounded_channel();
    let watched = Watched {
        told: told_tx,
        outcomes: tokio::sync::Mutex::new(outcomes),
    };
    let test = Test {
        told,
        outcomes: outcomes_tx,
    };
    (watched, test)
}

#[async_trait]
impl Rules for Watched {
    type Error = io::Error;

    async fn follow(&self, names: Followed) -> io::Result<()> {
        let _ = self.told.send(names);
        self.outcomes.lock().await.recv().await.unwrap()
    }

    fn help(_: &io::Error) -> String {
        String::new()
    }
}

impl Test {
    /// What the rules are to know next.
    async fn next(&mut self) -> Vec<IpAddr> {
        let names = self.told.recv().await.unwrap();
        names.into_values().flatten().collect()
    }

    fn fails(&self) {
        let error = io::ErrorKind::Other.into();
        self.outcomes.send(Err(error)).unwrap();
    }

    fn works(&self) {
        self.outcomes.send(Ok(())).unwrap();
    }
}

type Told = JoinHandle<Result<(), NotFollowed>>;

fn tell(learner: &Learner, learned: Learned) -> Told {
    let learner = learner.clone();
    tokio::spawn(async move { learner.learned(&learned).await })
}

#[tokio::test]
async fn an_answer_waits_for_the_rules_only_when_it_brings_an_address_that_they_lack() {
    let (learner, following) = learner("*.example.com", OnFailure::Closed);
    let (rules, mut test) = rules();
    let _keeps_up = tokio::spawn(following.keep_up(rules));
    learner.learned(&learned("example.net", 1)).await.unwrap();
    assert!(test.told.try_recv().is_err(), "not a name that is followed");
    let told = tell(&learner, learned("a.example.com", 2));
    assert_eq!(test.next().await, [ip(2)]);
    assert!(!told.is_finished());
    test.works();
    told.await.unwrap().unwrap();
    learner.learned(&learned("a.example.com", 2)).await.unwrap();
    assert!(test.told.try_recv().is_err(), "known already");
}

#[tokio::test(start_paused = true)]
async fn what_the_rules_could_not_be_told_is_told_again() {
    let (learner, following) = learner("*.example.com", OnFailure::Closed);
    let (rules, mut test) = rules();
    let _keeps_up = tokio::spawn(following.keep_up(rules));
    let first = tell(&learner, learned("a.example.com", 1));
    assert_eq!(test.next().await, [ip(1)]);
    test.fails();
    // Nobody waits for this one, and it comes all the same.
    assert_eq!(test.next().await, [ip(1)]);
    // The program asks again: the address is known, and the rules still lack it.
    let again = tell(&learner, learned("a.example.com", 1));
    tokio::task::yield_now().await;
    test.fails();
    assert_eq!(test.next().await, [ip(1)]);
    test.works();
    again.await.unwrap().unwrap();
    assert_eq!(first.await.unwrap(), Err(NotFollowed));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_rules_lack_is_withheld_under_closed_and_told_under_open() {
    for (otherwise, expected) in [
        (OnFailure::Closed, Err(NotFollowed)),
        (OnFailure::Open, Ok(())),
    ] {
        // The rules say nothing until the answer's patience is over.
        let (learner, following) = learner("*.example.com", otherwise);
        let (rules, _test) = rules();
        let _keeps_up = tokio::spawn(following.keep_up(rules));
        let told = learner.learned(&learned("a.example.com", 1)).await;
        assert_eq!(told, expected, "{otherwise:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_wait_together_are_told_together() {
    let (learner, following) = learner("*.example.com", OnFailure::Closed);
    let (rules, mut test) = rules();
    let all: Vec<Told> = (1..=3)
        .map(|last| tell(&learner, learned("a.example.com", last)))
        .collect();
    tokio::task::yield_now().await;
    let _keeps_up = tokio::spawn(following.keep_up(rules));
    assert_eq!(test.next().await, [ip(1), ip(2), ip(3)]);
    test.works();
    for told in all {
        told.await.unwrap().unwrap();
    }
    assert!(test.told.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_rules_that_are_given_up() {
    let (learner, following) = learner("*.example.com", OnFailure::Closed);
    let (rules, mut test) = rules();
    let keeps_up = tokio::spawn(following.keep_up(rules));
    let told = tell(&learner, learned("a.example.com", 1));
    test.next().await;
    let before = Instant::now();
    keeps_up.abort();
    assert_eq!(told.await.unwrap(), Err(NotFollowed));
    let later = learner.learned(&learned("a.example.com", 2)).await;
    assert_eq!(later, Err(NotFollowed));
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn what_is_not_answered_any_more_is_forgotten_and_the_set_is_bounded() {
    let (learner, _following) = learner("*.example.com", OnFailure::Open);
    let at = Instant::now();
    let lacking = learner.note(&learned("a.example.com", 1), at);
    assert_eq!(lacking, Lacking::Included);
    let later = at + KEPT;
    learner.note(&learned("b.example.com", 2), later);
    let known = |learner: &Learner| learner.known()[&NameSet::Included].clone();
    assert_eq!(known(&learner).into_iter().collect::<Vec<_>>(), [ip(2)]);
    let many = Learned {
        name: "c.example.com".parse().unwrap(),
        addresses: (0..5000_u32)
            .map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes()))
            .collect(),
    };
    learner.note(&many, later);
    assert_eq!(known(&learner).len(), MOST);
}

/// Gives the n-th result to the n-th lookup of a name that it knows, and never answers others.
#[derive(Debug)]
struct Zone(Mutex<HashMap<&'static str, VecDeque<Vec<SocketAddr>>>>);

#[async_trait]
impl Resolver for Zone {
    async fn resolve(&self, host: &HostName, port: u16) -> io::Result<Vec<SocketAddr>> {
        assert_eq!(port, 0);
        let found = {
            let mut zone = self.0.lock().unwrap();
            let results = zone.get_mut(host.as_str());
            results.map(|results| results.pop_front().unwrap_or_default())
        };
        match found {
            Some(found) => Ok(found),
            None => std::future::pending().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn names_that_are_written_out_are_known_before_anything_starts() {
    let names = ["slow.example", "none.example", "late.example", "a.example"];
    let mut patterns: Vec<HostPattern> = names.map(|name| name.parse().unwrap()).to_vec();
    patterns.push("*.b.example".parse().unwrap());
    let patterns = BTreeMap::from([(NameSet::Included, patterns)]);
    let (learner, following) = pair(patterns, OnFailure::Closed);
    let at = |last| SocketAddr::new(ip(last), 0);
    let zone = HashMap::from([
        ("none.example", VecDeque::new()),
        ("late.example", VecDeque::from([vec![], vec![at(2)]])),
        ("a.example", VecDeque::from([vec![at(1)]])),
    ]);
    let resolver: Arc<dyn Resolver> = Arc::new(Zone(Mutex::new(zone)));
    let (rules, mut test) = rules();
    let _keeps_up = tokio::spawn(following.keep_up(rules));
    test.works();
    let before = Instant::now();
    let missing = learner.begin(&resolver).await;
    assert!(
        before.elapsed() <= Duration::from_secs(6),
        "one after the other"
    );
    let missing: Vec<_> = missing.iter().map(HostName::as_str).collect();
    assert_eq!(missing, ["late.example", "none.example", "slow.example"]);
    assert_eq!(test.next().await, [ip(1)]);
    // And what has an address later is found later.
    let _refresh = tokio::spawn(learner.refresh(resolver));
    assert_eq!(test.next().await, [ip(1), ip(2)]);
}
