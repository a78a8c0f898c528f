//! Where a certificate is required: at each request, whoever logs in.

use super::*;

/// Where a certificate is required.
fn required() -> String {
    format!("{ASKS}client_certificates = \"required\"\n")
}

#[tokio::test]
async fn where_a_certificate_is_required_nobody_comes_in_without() {
    let house = House::with(&required()).await;
    let without = trusting(&house.server, &[&TLS13], &[]);
    // TLS 1.3 tells a client after its side of the handshake is done.
    if let Ok(mut client) = Client::connect_tls(house.rig.address(), without).await {
        let _ = client.try_send(read(&basic("bob"))).await;
        assert_eq!(client.rest().await, "");
    }
    assert!(house.rig.livy().requests().is_empty());
    let mut client = house.connect(&house.clients.badge("alice.people")).await;
    ask(&mut client, read("")).await.expect_status(200);
    house.livy_heard("alice");
    ask(&mut client, read(&basic("bob"))).await.expect_status(200);
    house.livy_heard("bob");
}

#[tokio::test]
async fn where_a_certificate_is_required_a_connection_serves_nobody_once_its_own_is_revoked() {
    let listen = required() + "client_crl_file = \"revoked.pem\"\n";
    let mut house = House::with(&listen).await;
    let lost = house.clients.badge_until("alice.people", 7, NOW + 86_400);
    let mut client = house.connect(&lost).await;
    ask(&mut client, read(&basic("bob"))).await.expect_status(200);
    house.livy_heard("bob");
    house.rig.stage.write("revoked.pem", &house.clients.revokes(&[7]));
    house.reload();
    let asked = house.rig.livy().requests().len();
    for login in [basic("bob"), house.issuer.bearer("carol"), String::new()] {
        ask(&mut client, read(&login))
            .await
            .expect_refusal(401, "invalid_credentials");
    }
    assert_eq!(house.rig.livy().requests().len(), asked);
    let mut client = house.connect(&house.clients.badge("alice.people")).await;
    ask(&mut client, read(&basic("bob"))).await.expect_status(200);
}

#[tokio::test]
async fn where_a_certificate_is_required_a_connection_serves_nobody_once_its_own_is_over() {
    let house = House::with(&required()).await;
    let badge = house.clients.badge_until("alice.people", 1, NOW + 20);
    let mut client = house.connect(&badge).await;
    ask(&mut client, read(&basic("bob"))).await.expect_status(200);
    house.rig.clock.advance(Duration::from_secs(20));
    ask(&mut client, read(&basic("bob"))).await.expect_status(200);
    let asked = house.rig.livy().requests().len();
    house.rig.clock.advance(Duration::from_secs(1));
    ask(&mut client, read(&basic("bob")))
        .await
        .expect_refusal(401, "invalid_credentials");
    assert_eq!(house.rig.livy().requests().len(), asked);
}

#[tokio::test]
async fn a_session_of_tls_that_goes_on_brings_no_certificate_past_its_end() {
    let house = House::with(&required()).await;
    // One client, which remembers its sessions.
    let config = house
        .clients
        .badge_until("alice.people", 1, NOW + 20)
        .client(&house.server);
    for (handshake, status) in [(HandshakeKind::Full, 200), (HandshakeKind::Resumed, 401)] {
        let stream = TcpStream::connect(house.rig.address()).await.unwrap();
        let stream = TlsConnector::from(Arc::new(config.clone()))
            .connect("localhost".try_into().unwrap(), stream)
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(handshake));
        let mut client = Client::over(stream);
        ask(&mut client, read(&basic("bob"))).await.expect_status(status);
        house.rig.clock.advance(Duration::from_secs(60));
    }
    assert_eq!(house.rig.livy().requests().len(), 1);
}

#[tokio::test]
async fn a_certificate_that_is_required_from_now_on_is_of_connections_that_are_open_too() {
    let mut house = House::new().await;
    let mut without = house.connect_without().await;
    let mut with = house.connect(&house.clients.badge("alice.people")).await;
    for client in [&mut without, &mut with] {
        ask(client, read(&basic("bob"))).await.expect_status(200);
    }
    let config = house.rig.stage.read("gateway.toml");
    house
        .rig
        .stage
        .write("gateway.toml", &config.replace(ASKS, &required()));
    house.reload();
    let asked = house.rig.livy().requests().len();
    for login in [basic("bob"), house.issuer.bearer("carol"), String::new()] {
        ask(&mut without, read(&login))
            .await
            .expect_refusal(401, "invalid_credentials");
    }
    assert_eq!(house.rig.livy().requests().len(), asked);
    ask(&mut with, read(&basic("bob"))).await.expect_status(200);
    house.livy_heard("bob");
}

#[tokio::test]
async fn a_good_certificate_that_names_nobody_opens_the_way_for_a_header() {
    let listen = required() + "[certificate]\nsubject = \"san_uri\"\n";
    let house = House::with(&listen).await;
    let mut client = house.connect(&house.clients.badge("alice.people")).await;
    for _ in 0..2 {
        ask(&mut client, read(""))
            .await
            .expect_refusal(401, "invalid_credentials");
        ask(&mut client, read(&basic("bob"))).await.expect_status(200);
        house.livy_heard("bob");
    }
}
