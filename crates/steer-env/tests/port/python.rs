use steer_core::instance::Instance;
use steer_core::intent::{Intent, Scope};

use crate::engine::{self, Engine, ann, output};
use crate::origin;

async fn python(engine: &Engine, script: &str) -> (i32, String) {
    output(engine.command("python3").args(["-c", script])).await
}

#[tokio::test]
async fn the_variables_bring_python_to_the_port_and_leave_loopback_alone() {
    let mut intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
    intent.listen.auth = Some(ann());
    let engine = engine::start(&steer_env::Env, &intent);
    let origin = origin::mirror().await;
    let port = origin.address.port();
    let get = |host: &str, data: &str| {
        format!(
            "import urllib.request as u\n\
             print(u.urlopen('http://{host}:{port}/x', {data}, timeout=20).read().decode(), end='')"
        )
    };
    let (status, seen) = python(&engine, &get("origin.test", "b'k=v'")).await;
    assert_eq!(status, 0);
    assert!(seen.starts_with("POST /x HTTP/1.1\r\n"), "{seen}");
    assert!(seen.ends_with("Connection: close\r\n\r\nk=v"), "{seen}");
    assert!(!seen.contains("Proxy-"), "{seen}");
    assert_eq!(engine.asked(), [format!("origin.test:{port} env -")]);

    for host in ["127.0.0.1", "localhost"] {
        let (status, _) = python(&engine, &get(host, "None")).await;
        assert_eq!(status, 0);
    }
    assert_eq!(engine.asked().len(), 1);
    let bypassed = "import urllib.request as u; \
                    print([u.proxy_bypass(h) for h in ('[::1]:80', '127.0.0.1', 'localhost:1', 'o.test')])";
    let (_, answers) = python(&engine, bypassed).await;
    assert_eq!(
        answers,
        "[0, 1, 1, 0]\n".replace('1', "True").replace('0', "False")
    );
}

#[tokio::test]
async fn python_asks_for_a_tunnel_where_the_url_is_https() {
    let intent = Intent::new(Instance::new("main").unwrap(), Scope::command());
    let engine = engine::start(&steer_env::Env, &intent);
    let script = "import urllib.request as u\n\
                  try: u.urlopen('https://denied.test/', timeout=20)\n\
                  except OSError as e: print(e)";
    let (_, told) = python(&engine, script).await;
    assert!(told.contains("403 Forbidden"), "{told}");
    assert_eq!(engine.asked(), ["denied.test:443 env -"]);
}
