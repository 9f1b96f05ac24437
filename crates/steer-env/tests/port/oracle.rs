use fast_socks5::client::{Config, Socks5Stream};
use fast_socks5::{ReplyError, SocksError};
use steer_core::policy::{Credentials, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::engine::{self, explicit_intent};
use crate::origin;

#[tokio::test]
async fn another_implementation_of_socks5_agrees_on_success_logins_and_refusals() {
    let mut intent = explicit_intent();
    intent.listen.auth = Some(Credentials {
        username: "ann".to_owned(),
        password: Secret::Literal("pw".to_owned()),
    });
    let engine = engine::start(&steer_env::Explicit, &intent);
    let echo = origin::echo().await;
    let port = echo.address.port();
    let connect = async |host: &str, port, password: &str| {
        Socks5Stream::connect_with_password(
            engine.address(),
            host.to_owned(),
            port,
            "ann".to_owned(),
            password.to_owned(),
            Config::default(),
        )
        .await
    };
    for host in ["origin.test", "127.0.0.1"] {
        let mut stream = connect(host, port, "pw").await.unwrap();
        stream.write_all(b"there and back").await.unwrap();
        let mut back = [0; 14];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"there and back");
        assert_eq!(
            engine.asked().pop(),
            Some(format!("{host}:{port} explicit -"))
        );
    }
    assert!(connect("origin.test", port, "no").await.is_err());
    let closed = origin::nobody().await.port();
    let refused = connect("origin.test", closed, "pw").await;
    assert!(
        matches!(
            refused,
            Err(SocksError::ReplyError(ReplyError::ConnectionRefused))
        ),
        "{refused:?}"
    );
}
