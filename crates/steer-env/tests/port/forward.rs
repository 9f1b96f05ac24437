use steer_core::intent::Forward;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::engine::{self, explicit_intent};
use crate::origin;

#[tokio::test]
async fn a_forward_port_goes_to_its_destination_by_its_upstream_and_passes_a_refusal_as_a_reset() {
    let echo = origin::echo().await;
    let mut intent = explicit_intent();
    let forward = |to: String, upstream: Option<&str>| Forward {
        listen: "127.0.0.1:0".parse().unwrap(),
        to: to.parse().unwrap(),
        upstream: upstream.map(str::to_owned),
        proxy_protocol: Vec::new(),
    };
    intent.forward = vec![
        forward(echo.named(), Some("corp")),
        forward(origin::nobody().await.to_string(), None),
    ];
    let engine = engine::start(&steer_env::Explicit, &intent);

    let mut client = TcpStream::connect(engine.listener("forward1"))
        .await
        .unwrap();
    client
        .write_all(b"CONNECT is only text here")
        .await
        .unwrap();
    client.shutdown().await.unwrap();
    let mut back = String::new();
    client.read_to_string(&mut back).await.unwrap();
    assert_eq!(back, "CONNECT is only text here");
    assert_eq!(engine.asked(), [format!("{} explicit corp", echo.named())]);

    let mut client = TcpStream::connect(engine.listener("forward2"))
        .await
        .unwrap();
    let error = client.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
