//! Uploads: one file, in Livy's field, under a safe name, in framing of the gateway's own.

use livy_gateway::livy::operation::Resource;

use super::{PARTS, roomy, send};
use crate::rig::multipart;

#[tokio::test]
async fn an_upload_reaches_livy_as_one_part_of_the_gateways_own_framing_with_its_bytes_undisturbed() {
    let rig = roomy().await;
    let mut content: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    content.extend(b"--cut--\r\n--cu\r\n\r\n--\r\r\n--cu");
    for resource in Resource::ALL {
        let field = resource.field();
        let head = format!(
            "--cut\r\ncontent-type: text/x-evil; a=b\r\nContent-Disposition: form-data; filename=\"my-lib_1.0.jar\"; name={field}\r\n\
             Content-Transfer-Encoding: binary\r\nContent-Length: 7\r\n\r\n"
        );
        let body = [head.as_bytes(), &content, b"\r\n--cut--\r\n"].concat();
        let path = format!("/sessions/0/upload-{}", resource.word());
        send(&rig, &path, PARTS, body).await.expect_status(200);
        let received = rig.livy().last();
        let boundary = received
            .header("content-type")
            .and_then(|value| value.strip_prefix("multipart/form-data; boundary="))
            .unwrap()
            .to_owned();
        assert_ne!(boundary, "cut");
        let expected_head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"my-lib_1.0.jar\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let expected = [
            expected_head.as_bytes(),
            &content,
            format!("\r\n--{boundary}--\r\n").as_bytes(),
        ]
        .concat();
        assert!(
            received.body == expected,
            "{}",
            String::from_utf8_lossy(&received.body[..300])
        );
        let upload = rig.livy().sessions()[0].uploads.last().unwrap().clone();
        assert_eq!(
            (upload.file_name.as_str(), upload.length),
            ("my-lib_1.0.jar", content.len())
        );
    }
}

#[tokio::test]
async fn an_upload_that_is_not_one_plain_file_in_livys_field_is_never_whole_at_livy() {
    let rig = roomy().await;
    let part = |disposition: &str| format!("--cut\r\nContent-Disposition: {disposition}\r\n\r\nx\r\n");
    let named = |name: &str| {
        format!(
            "{}--cut--\r\n",
            part(&format!("form-data; name=\"file\"; filename=\"{name}\""))
        )
    };
    let good = part("form-data; name=\"file\"; filename=\"a.txt\"");
    let mut bodies: Vec<String> = [
        "../x",
        "/etc/passwd",
        "..\\x",
        "hdfs://evil/x",
        "..",
        ".",
        ".hidden",
        "-x",
        "",
        "a b",
        "a;b",
        "a%2fb",
        "é.jar",
        "a:b",
        "x\u{0}y",
    ]
    .map(named)
    .into();
    bodies.push(named(&"x".repeat(256)));
    bodies.extend([
        format!(
            "{}--cut--\r\n",
            part("form-data; name=\"jar\"; filename=\"a.jar\"")
        ),
        format!(
            "{}--cut--\r\n",
            part("form-data; name=\"FILE\"; filename=\"a.jar\"")
        ),
        format!("{}--cut--\r\n", part("form-data; name=\"file\"")),
        format!(
            "{}--cut--\r\n",
            part("form-data; name=\"file\"; filename*=UTF-8''a.jar")
        ),
        format!(
            "{}--cut--\r\n",
            part("form-data; name=\"file\"; filename=\"a\"; filename=\"b\"")
        ),
        format!("{}--cut--\r\n", part("attachment; name=\"file\"; filename=\"a\"")),
        format!("{good}{good}--cut--\r\n"),
        format!("{good}{}--cut--\r\n", part("form-data; name=\"doAs\"")),
        format!("{}{good}--cut--\r\n", part("form-data; name=\"doAs\"")),
        format!("{good}--cut--\r\nmore"),
        format!("before\r\n{good}--cut--\r\n"),
        good.clone(),
        format!("{good}--cut--x"),
        format!("{good}--cutter--\r\n"),
        "--cut--\r\n".to_owned(),
        format!("{good}--cut--\r\n").replace("\r\n\r\n", "\r\nX-Http-Method: GET\r\n\r\n"),
        format!("{good}--cut--\r\n").replace("\r\n\r\n", "\r\nContent-Transfer-Encoding: base64\r\n\r\n"),
        format!("{good}--cut--\r\n").replace(
            "\r\n\r\n",
            "\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n",
        ),
        format!("{good}--cut--\r\n").replace("\r\n", "\n"),
    ]);
    for body in &bodies {
        let reply = send(&rig, "/sessions/0/upload-file", PARTS, body).await;
        assert_eq!(
            reply.outcome(),
            (400, "invalid_body".to_owned()),
            "{body:.200}: {}",
            reply.text()
        );
    }
    for lines in [
        "",
        "Content-Type: application/octet-stream\r\n",
        "Content-Type: application/json\r\n",
        "Content-Type: multipart/form-data\r\n",
        "Content-Type: multipart/mixed; boundary=cut\r\n",
        "Content-Type: multipart/form-data; boundary=cut; boundary=x\r\n",
        "Content-Type: multipart/form-data; boundary=cut; x=y\r\n",
        "Content-Type: multipart/form-data; boundary=cut\r\nContent-Encoding: gzip\r\n",
    ] {
        let reply = send(&rig, "/sessions/0/upload-file", lines, multipart("file", "x")).await;
        assert_eq!(reply.outcome(), (415, "unsupported_body".to_owned()), "{lines}");
    }
    send(&rig, "/sessions/0/upload-file", PARTS, "")
        .await
        .expect_refusal(400, "invalid_body");
    assert!(rig.livy().sessions()[0].uploads.is_empty());
    assert!(
        rig.livy()
            .requests()
            .iter()
            .all(|received| !received.body_complete)
    );
}
