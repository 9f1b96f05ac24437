use steer_core::instance::Instance;
use steer_core::intent::{Intent, Scope};

use crate::engine::{self, Engine, ann, explicit_intent, output};
use crate::origin;

async fn curl(engine: &Engine, arguments: &[&str]) -> (i32, String) {
    output(
        engine
            .command("curl")
            .args(["-sS", "-q", "-g", "--max-time", "20"])
            .args(arguments),
    )
    .await
}

#[tokio::test]
async fn a_request_in_absolute_form_reaches_the_origin_as_if_there_were_no_proxy() {
    let (engine, origin) = (engine::explicit(), origin::mirror().await);
    let proxy = engine.address().to_string();
    let url = format!("http://{}/a%2Fb?q=1", origin.named());
    let arguments = [
        "-x",
        &proxy,
        "-A",
        "agent",
        "-H",
        "X-CaSe:  two  words",
        &url,
    ];
    let (status, seen) = curl(&engine, &arguments).await;
    assert_eq!(status, 0);
    assert_eq!(
        seen,
        format!(
            "GET /a%2Fb?q=1 HTTP/1.1\r\nHost: {}\r\nUser-Agent: agent\r\nAccept: */*\r\n\
             X-CaSe:  two  words\r\nConnection: close\r\n\r\n",
            origin.named()
        )
    );
    let port = origin.address.port();
    assert_eq!(engine.asked(), [format!("origin.test:{port} explicit -")]);
}

#[tokio::test]
async fn a_body_arrives_by_length_and_by_chunks() {
    let (engine, origin) = (engine::explicit(), origin::mirror().await);
    let proxy = engine.address().to_string();
    let url = format!("http://{}/", origin.named());
    let body = "0123456789abcde\n".repeat(20_000);
    let file = std::env::temp_dir().join(format!("steer-env-{}-body", std::process::id()));
    std::fs::write(&file, &body).unwrap();
    let data = format!("@{}", file.display());
    let plain = ["-x", &proxy, "-H", "Expect:", "--data-binary", &data, &url];
    let by_length = curl(&engine, &plain).await;
    let chunked = [&plain[..], &["-H", "Transfer-Encoding: chunked"]].concat();
    let by_chunks = curl(&engine, &chunked).await;
    std::fs::remove_file(&file).unwrap();
    assert_eq!(by_length.0, 0);
    assert!(by_length.1.ends_with(&format!("\r\n\r\n{body}")));
    assert_eq!(by_chunks.0, 0);
    assert!(by_chunks.1.contains("Transfer-Encoding: chunked\r\n"));
    assert!(by_chunks.1.ends_with("\r\n0\r\n\r\n"));
    assert!(by_chunks.1.len() > body.len());
}

#[tokio::test]
async fn each_kind_of_tunnel_asks_for_what_the_url_says() {
    let (engine, origin) = (engine::explicit(), origin::mirror().await);
    let proxy = engine.address().to_string();
    let port = origin.address.port();
    let named = format!("http://{}/", origin.named());
    let direct = format!("http://127.0.0.1:{port}/");
    for (arguments, asked) in [
        (vec!["-p", "-x", &proxy, &named], "origin.test"),
        (vec!["-p", "-x", &proxy, &direct], "127.0.0.1"),
        (vec!["--socks5-hostname", &proxy, &named], "origin.test"),
        (vec!["--socks5", &proxy, &direct], "127.0.0.1"),
        (vec!["--socks4a", &proxy, &named], "origin.test"),
        (vec!["--socks4", &proxy, &direct], "127.0.0.1"),
    ] {
        let (status, seen) = curl(&engine, &arguments).await;
        assert_eq!(status, 0, "{arguments:?}");
        assert!(seen.starts_with("GET / HTTP/1.1\r\n"), "{seen}");
        assert!(!seen.contains("Connection: close"), "{seen}");
        let last = engine.asked().pop().unwrap();
        assert_eq!(last, format!("{asked}:{port} explicit -"));
    }
}

#[tokio::test]
async fn a_login_is_asked_for_in_each_protocol() {
    let mut intent = explicit_intent();
    intent.listen.auth = Some(ann());
    let engine = engine::start(&steer_env::Explicit, &intent);
    let origin = origin::mirror().await;
    let proxy = engine.address().to_string();
    let url = format!("http://{}/", origin.named());
    let right = "ann:p@ss:/%é";
    for kind in ["--socks4", "--socks4a"] {
        // A user id is no login, whatever it says.
        let (status, _) = curl(&engine, &[kind, &proxy, "-U", "ann", &url]).await;
        assert_eq!(status, 97, "{kind}");
    }
    for kind in [&["-x"][..], &["-p", "-x"], &["--socks5-hostname"]] {
        let with = |login| [kind, &[proxy.as_str(), "-U", login, &url]].concat();
        let (status, seen) = curl(&engine, &with(right)).await;
        assert_eq!(status, 0, "{kind:?}");
        assert!(!seen.contains("Proxy-Authorization"), "{seen}");
        let before = engine.asked().len();
        let code = [
            &with("ann:wrong")[..],
            &["-o", "/dev/null", "-w", "%{http_connect} %{http_code}"],
        ];
        let (status, codes) = curl(&engine, &code.concat()).await;
        let refused = match kind {
            ["-x"] => status == 0 && codes == "000 407",
            ["-p", ..] => status == 56 && codes == "407 000",
            _ => status == 97,
        };
        assert!(refused, "{kind:?} {status} {codes}");
        assert_eq!(engine.asked().len(), before);
    }
}

#[tokio::test]
async fn the_variables_bring_curl_to_the_port_and_leave_loopback_and_excluded_names_alone() {
    let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
    intent.listen.auth = Some(ann());
    intent.traffic.exclude.domains = vec!["lan".parse().unwrap(), "*.lan".parse().unwrap()];
    let engine = engine::start(&steer_env::Env, &intent);
    let origin = origin::mirror().await;
    let port = origin.address.port();

    let (status, seen) = curl(&engine, &[&format!("http://origin.test:{port}/")]).await;
    assert_eq!(status, 0);
    assert!(seen.contains("Connection: close"), "{seen}");
    assert_eq!(engine.asked(), [format!("origin.test:{port} env -")]);

    for host in ["127.0.0.1", "127.8.9.10", "localhost"] {
        // Whether anything listens there is not the matter: the port must not be asked.
        curl(&engine, &[&format!("http://{host}:{port}/")]).await;
    }
    curl(&engine, &[&format!("http://[::1]:{port}/")]).await;
    for host in ["lan", "a.lan", "b.a.lan"] {
        let resolve = format!("{host}:{port}:127.0.0.1");
        let url = format!("http://{host}:{port}/");
        let (status, seen) = curl(&engine, &["--resolve", &resolve, &url]).await;
        assert_eq!(status, 0);
        assert!(!seen.contains("Connection: close"), "{seen}");
    }
    assert_eq!(engine.asked().len(), 1, "{:?}", engine.asked());
    curl(&engine, &[&format!("http://wlan:{port}/")]).await;
    assert_eq!(engine.asked().len(), 2, "{:?}", engine.asked());
}
