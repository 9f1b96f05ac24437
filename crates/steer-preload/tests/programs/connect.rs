//! What connect(2) does, and what programs ask of a connection.

use lab::require;
use steer_core::intent::{OnFailure, Relay};

use crate::engine::{Engine, FAILURES, LATER};

const SPEAK: &str = "
import socket, select, sys, threading, os, errno, time
def echo(s, text=b'hello'):
    s.settimeout(30); s.sendall(text)
    got = b''
    while len(got) < len(text): got += s.recv(99)
    assert got == text, got
";

async fn python(engine: &Engine, text: &str) -> String {
    engine.python(&format!("{SPEAK}\n{text}")).await
}

#[tokio::test]
async fn a_blocking_socket_is_connected_and_knows_its_peer() {
    require!(Program("python3"));
    let engine = Engine::start(|_| {}).await;
    let text = "
for family, to in ((socket.AF_INET, '203.0.113.7'), (socket.AF_INET6, '2001:db8::7'),
                   (socket.AF_INET6, '::ffff:203.0.113.8')):
    s = socket.socket(family); s.connect((to, 80)); echo(s)
    print(s.getpeername()[:2])
    try: s.connect((to, 80))
    except OSError as e: print(errno.errorcode[e.errno])
";
    let said = python(&engine, text).await;
    let expected = [
        "('203.0.113.7', 80)",
        "EISCONN",
        "('2001:db8::7', 80)",
        "EISCONN",
        "('::ffff:203.0.113.8', 80)",
        "EISCONN",
    ];
    assert_eq!(said, expected.join("\n"));
    assert_eq!(
        engine.asked(),
        ["203.0.113.7:80", "[2001:db8::7]:80", "203.0.113.8:80"]
    );
}

#[tokio::test]
async fn a_nonblocking_socket_waits_in_epoll_until_the_engine_is_there() {
    require!(Program("python3"));
    let engine = Engine::start(|_| {}).await;
    let text = format!(
        "
s = socket.socket(); s.setblocking(False)
e = select.epoll(); e.register(s, select.EPOLLOUT | select.EPOLLIN | select.EPOLLET); e.poll(0)
print(errno.errorcode[s.connect_ex(('203.0.113.7', {LATER}))])
print(errno.errorcode[s.connect_ex(('203.0.113.7', {LATER}))])
print(e.poll(0), s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
print('waits', flush=True)
print([v for _, v in e.poll(30)] == [select.EPOLLOUT])
print(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), s.connect_ex(('203.0.113.7', {LATER})))
print(errno.errorcode[s.connect_ex(('203.0.113.7', {LATER}))], s.getpeername()); echo(s)
"
    );
    let said = engine
        .python_goes_on(&format!("{SPEAK}\n{text}"), "waits")
        .await;
    let expected =
        format!("EINPROGRESS\nEALREADY\n[] 0\nwaits\nTrue\n0 0\nEISCONN ('203.0.113.7', {LATER})");
    assert_eq!(said, expected);
}

#[tokio::test]
async fn every_failure_is_told_with_its_errno() {
    require!(Program("python3"));
    let engine = Engine::start(|_| {}).await;
    for (port, _, number) in FAILURES {
        let text = format!(
            "
s = socket.socket()
print(s.connect_ex(('203.0.113.7', {port})))
s = socket.socket(); s.setblocking(False)
assert s.connect_ex(('203.0.113.7', {port})) == errno.EINPROGRESS
assert select.select([], [s], [], 30)[1]
print(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
print(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
s = socket.socket(); s.setblocking(False)
assert s.connect_ex(('203.0.113.7', {port})) == errno.EINPROGRESS
assert select.select([], [s], [], 30)[1]
print(s.connect_ex(('203.0.113.7', {port})))
"
        );
        let said = python(&engine, &text).await;
        assert_eq!(said, format!("{number}\n{number}\n0\n{number}"), "{port}");
    }
}

#[tokio::test]
async fn a_program_gets_a_connection_of_its_own_where_nothing_has_to_be_seen() {
    require!(Program("python3"));
    let engine = Engine::start(|intent| intent.relay = Some(Relay::Needed)).await;
    let text = "
s = socket.create_connection(('203.0.113.7', 80)); echo(s); print(s.getpeername()[0])
s = socket.socket(); s.setblocking(False)
print(s.connect_ex(('203.0.113.7', 80)) in (0, errno.EINPROGRESS))
select.select([], [s], [], 30); echo(s)
";
    assert_eq!(python(&engine, text).await, "127.0.0.1\nTrue");
    assert_eq!(engine.asked().len(), 2);
}

#[tokio::test]
async fn a_signal_ends_the_call_and_the_connection_goes_on() {
    require!(Program("python3"));
    let engine = Engine::start(|_| {}).await;
    // Python goes on by itself after EINTR: it waits for the socket, and asks for its error.
    let text = format!(
        "
import signal
heard = []
signal.signal(signal.SIGALRM, lambda *_: (heard.append(1), print('heard', flush=True)))
signal.setitimer(signal.ITIMER_REAL, 0.2)
s = socket.socket(); s.connect(('203.0.113.7', {LATER}))
print(len(heard), s.getpeername()); echo(s)
"
    );
    let said = engine
        .python_goes_on(&format!("{SPEAK}\n{text}"), "heard")
        .await;
    assert_eq!(said, format!("heard\n1 ('203.0.113.7', {LATER})"));
}

#[tokio::test]
async fn a_call_ends_when_its_time_is_up() {
    require!(Program("python3"));
    let engine = Engine::start(|_| {}).await;
    let text = format!(
        "
import struct
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack('ll', 0, 200000))
print(errno.errorcode[s.connect_ex(('203.0.113.7', {LATER}))])
s = socket.socket(); s.settimeout(0.2)
try: s.connect(('203.0.113.7', {LATER}))
except TimeoutError: print('time is up')
"
    );
    assert_eq!(python(&engine, &text).await, "EINPROGRESS\ntime is up");
}

#[tokio::test]
async fn threads_and_forks_ask_at_the_same_time() {
    require!(Program("python3"));
    let engine = Engine::start(|_| {}).await;
    let text = "
def talk(n):
    for i in range(20):
        s = socket.create_connection(('203.0.113.%d' % n, 1000 + i)); echo(s, b'%d %d' % (n, i))
        assert s.getpeername() == ('203.0.113.%d' % n, 1000 + i); s.close()
threads = [threading.Thread(target=talk, args=(n,)) for n in range(8)]
for t in threads: t.start()
children = []
for n in range(8, 12):
    pid = os.fork()
    if pid == 0:
        try: talk(n)
        except BaseException as e: print(repr(e), flush=True); os._exit(1)
        os._exit(0)
    children.append(pid)
for pid in children: assert os.waitpid(pid, 0)[1] == 0
for t in threads: t.join()
print('done')
";
    assert_eq!(python(&engine, text).await, "done");
    let mut asked = engine.asked();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), 12 * 20);
}

#[tokio::test]
async fn what_is_not_meant_goes_its_own_way() {
    require!(Program("python3"));
    let engine = Engine::start(|intent| {
        intent.traffic.exclude.cidrs = vec!["127.0.0.0/8".parse().unwrap()];
        intent.traffic.loopback = Some(steer_core::intent::Loopback::Steer);
    })
    .await;
    let text = "
server = socket.create_server(('127.0.0.1', 0))
s = socket.create_connection(server.getsockname()); print(s.getpeername() == server.getsockname())
a, b = socket.socketpair(); print('unix')
";
    assert_eq!(python(&engine, text).await, "True\nunix");
    assert_eq!(engine.asked(), [""; 0]);
}

#[tokio::test]
async fn loopback_is_the_program_s_own_unless_it_is_steered() {
    require!(Program("python3"));
    let engine = Engine::start(|_| {}).await;
    let text = "
server = socket.create_server(('127.0.0.1', 0))
for to in ('127.0.0.1', '0.0.0.0', 'localhost'):
    s = socket.create_connection((to, server.getsockname()[1])); server.accept()
print('done')
";
    assert_eq!(python(&engine, text).await, "done");
    assert_eq!(engine.asked(), [""; 0]);
    let engine = Engine::start(|intent| {
        intent.traffic.loopback = Some(steer_core::intent::Loopback::Steer);
    })
    .await;
    python(&engine, "echo(socket.create_connection(('127.0.0.1', 9)))").await;
    assert_eq!(engine.asked(), ["127.0.0.1:9"]);
}

#[tokio::test]
async fn datagrams_and_other_families_are_refused_and_dns_is_left_alone() {
    require!(Program("python3"));
    let text = "
def tried(work):
    try: return 'sent %r' % work()
    except OSError as e: return errno.errorcode[e.errno]
u = lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print(tried(lambda: u().sendto(b'x', ('203.0.113.7', 443))))
print(tried(lambda: u().connect(('203.0.113.7', 443))))
print(tried(lambda: u().sendmsg([b'x'], [], 0, ('203.0.113.7', 443))))
print(tried(lambda: u().connect(('203.0.113.7', 53))))
print(tried(lambda: u().sendto(b'x', ('127.0.0.1', 9))))
print(tried(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)))
";
    let engine = Engine::start(|_| {}).await;
    let closed = "ECONNREFUSED\nECONNREFUSED\nECONNREFUSED\nsent None\nsent 1\nEAFNOSUPPORT";
    assert_eq!(python(&engine, text).await, closed);
    let engine = Engine::start(|intent| intent.on_failure = Some(OnFailure::Open)).await;
    let open = python(&engine, text).await;
    assert!(!open.contains("ECONNREFUSED"), "{open}");
}

#[tokio::test]
async fn without_an_engine_nothing_is_connected_and_nothing_is_started_direct() {
    require!(Program("python3"));
    let text = "
s = socket.create_connection(('203.0.113.7', 80)); echo(s)
print('ready', flush=True); sys.stdin.readline()
s = socket.socket(); print(errno.errorcode[s.connect_ex(('203.0.113.7', 80))])
import subprocess
code = 'import socket; print(socket.socket().connect_ex((\"203.0.113.7\", 80)))'
print(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip())
os.unlink(sys.argv[1])
try: subprocess.run([sys.executable, '-c', code])
except PermissionError: print('not started')
";
    let mut engine = Engine::start(|_| {}).await;
    let mut command = engine.command("python3");
    command
        .args(["-c", &format!("{SPEAK}\n{text}")])
        .arg(engine.library());
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::null());
    let mut program = command.spawn().unwrap();
    engine.wait_for(1).await;
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
    let mut out = tokio::io::BufReader::new(program.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).await.unwrap();
    assert_eq!(line, "ready\n");
    engine.kill().await;
    let mut input = program.stdin.take().unwrap();
    input.write_all(b"go\n").await.unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "ECONNREFUSED\n111\nnot started\n");
}

#[tokio::test]
async fn a_program_that_is_gone_waits_for_nothing() {
    require!(Program("python3"));
    let ways = [
        ("s.connect(TO)", true),
        ("s.setblocking(False); s.connect_ex(TO)", false),
        (
            "s.settimeout(0.1)\ntry: s.connect(TO)\nexcept TimeoutError: pass",
            false,
        ),
    ];
    for (way, is_killed) in ways {
        let engine = Engine::start(|_| {}).await;
        let text = format!("TO = ('203.0.113.7', {LATER})\ns = socket.socket(); {way}");
        let mut command = engine.command("python3");
        command.args(["-c", &format!("{SPEAK}\n{text}")]);
        let mut program = command.spawn().unwrap();
        engine.wait_for(1).await;
        if is_killed {
            program.start_kill().unwrap();
        }
        engine.wait_for(2).await;
        assert_eq!(engine.asked()[1], "gone", "{way}");
        program.wait().await.unwrap();
    }
}

#[tokio::test]
async fn a_connect_outlives_the_process_that_began_it_where_another_has_its_socket() {
    require!(Program("python3"));
    let engine = Engine::start(|_| {}).await;
    let text = format!(
        "
s = socket.socket(); s.setblocking(False); s.connect_ex(('203.0.113.7', {LATER}))
parent = os.getpid()
if os.fork(): os._exit(0)
while os.getppid() == parent: time.sleep(0.01)
print('orphan', flush=True)
assert select.select([], [s], [], 30)[1]
echo(s); print('connected', flush=True)
"
    );
    let said = engine
        .python_goes_on(&format!("{SPEAK}\n{text}"), "orphan")
        .await;
    assert_eq!(said, "orphan\nconnected");
    assert_eq!(engine.asked().len(), 1);
}
