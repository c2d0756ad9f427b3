//! Uploads and what becomes of them.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::wire::Listening;
use crate::support::{Reply, Service, eventually, form, training_line, upload};

fn ids(reply: &Reply) -> Vec<String> {
    reply.json()["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_file_comes_back_as_it_went_in_whatever_the_order_of_its_parts() {
    let service = Service::new();
    let bytes = training_line("hi").repeat(10);
    let parts = [
        ("purpose", None, "fine-tune"),
        ("expires_after[anchor]", None, "created_at"),
        ("expires_after[seconds]", None, "3600"),
        ("file", Some("some/train \"x\".jsonl"), bytes.as_str()),
    ];
    for turned in 0..parts.len() {
        let mut parts = parts;
        parts.rotate_left(turned);
        let (content_type, body) = form(&parts);
        let reply = service.post_as("/v1/files", &content_type, body).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let file = reply.json();
        let keys: Vec<&String> = file.as_object().unwrap().keys().collect();
        let expected =
            ["id", "object", "bytes", "created_at", "expires_at", "filename", "purpose", "status", "status_details"];
        assert_eq!(keys, expected);
        assert_eq!(file["object"], "file");
        assert_eq!(file["bytes"], bytes.len());
        assert_eq!((file["purpose"].as_str(), file["status"].as_str()), (Some("fine-tune"), Some("processed")));
        let lifetime = file["expires_at"].as_i64().unwrap() - file["created_at"].as_i64().unwrap();
        assert!((3599..=3600).contains(&lifetime), "{lifetime}");

        let id = file["id"].as_str().unwrap();
        assert_eq!(service.get(&format!("/v1/files/{id}")).await.json(), file);
        let content = service.get(&format!("/v1/files/{id}/content")).await;
        assert_eq!(content.text(), bytes);
        assert_eq!(content.header("content-type"), Some("application/jsonl"));
        assert_eq!(content.header("content-length"), Some(bytes.len().to_string().as_str()));
        let disposition = content.header("content-disposition").unwrap();
        assert!(disposition.starts_with("attachment; filename=\"train _x"), "{disposition}");
    }
}

#[tokio::test]
async fn a_large_file_is_streamed_back_whole() {
    let service = Service::new();
    let bytes: Vec<u8> = (0..3_000_001_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let id = upload(&service, "user_data", "big.bin", &bytes).await;
    let content = service.get(&format!("/v1/files/{id}/content")).await;
    assert_eq!(content.body, bytes);
    assert_eq!(content.header("content-type"), Some("application/octet-stream"));
}

#[tokio::test]
async fn lists_go_by_purpose_order_and_cursor() {
    let service = Service::new();
    let mut made = Vec::new();
    for at in 0..5 {
        made.push(upload(&service, "user_data", &format!("{at}.txt"), b"x").await);
    }
    let trained = upload(&service, "fine-tune", "t.jsonl", training_line("a").as_bytes()).await;
    let newest: Vec<String> = made.iter().rev().cloned().collect();

    let first = service.get("/v1/files?purpose=user_data&limit=2").await;
    assert_eq!(ids(&first), newest[..2]);
    let page = first.json();
    assert_eq!((&page["object"], &page["has_more"]), (&json!("list"), &json!(true)));
    assert_eq!((page["first_id"].as_str(), page["last_id"].as_str()), (Some(&*newest[0]), Some(&*newest[1])));
    let next = service.get(&format!("/v1/files?purpose=user_data&limit=9&after={}", newest[1])).await;
    assert_eq!((ids(&next), next.json()["has_more"].clone()), (newest[2..].to_vec(), json!(false)));
    assert_eq!(ids(&service.get("/v1/files?purpose=user_data&order=asc").await), made);
    assert_eq!(ids(&service.get("/v1/files?purpose=fine-tune").await), [trained]);
    assert_eq!(ids(&service.get("/v1/files").await).len(), 6);
    let none = service.get("/v1/files?purpose=batch").await.json();
    assert_eq!((&none["data"], &none["first_id"], &none["has_more"]), (&json!([]), &json!(null), &json!(false)));

    for (query, param) in [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=x", "limit"),
        ("order=up", "order"),
        ("purpose=all", "purpose"),
        ("after=file-unknown", "after"),
    ] {
        assert_eq!(service.get(&format!("/v1/files?{query}")).await.bad_param(), param);
    }
}

#[tokio::test]
async fn a_deleted_file_is_gone() {
    let service = Service::new();
    let id = upload(&service, "user_data", "a.txt", b"hello").await;
    assert_eq!(service.files_on_disk(), 1);
    let reply = service.delete(&format!("/v1/files/{id}")).await;
    assert_eq!(reply.json(), json!({"id": id, "object": "file", "deleted": true}));
    assert_eq!(service.files_on_disk(), 0);
    for path in [format!("/v1/files/{id}"), format!("/v1/files/{id}/content"), "/v1/files/..%2F..".to_owned()] {
        let (_, code, message) = service.get(&path).await.failure(404);
        assert_eq!(code, "not_found", "{path}: {message}");
    }
    service.delete(&format!("/v1/files/{id}")).await.failure(404);
}

#[tokio::test]
async fn forms_that_cannot_be_stored_say_what_is_missing_and_leave_nothing() {
    let service = Service::new();
    let file = ("file", Some("a.txt"), "x");
    let purpose = ("purpose", None, "user_data");
    for (parts, param) in [
        (vec![file], "purpose"),
        (vec![purpose], "file"),
        (vec![], "file"),
        (vec![("purpose", None, "fun"), file], "purpose"),
        (vec![("purpose", None, "fine-tune-results"), file], "purpose"),
        (vec![file, ("purpose", None, "fun")], "purpose"),
        (vec![purpose, purpose, file], "purpose"),
        (vec![purpose, file, file], "file"),
        (vec![purpose, ("file", Some("empty.txt"), "")], "file"),
        (vec![purpose, ("expires_after[seconds]", None, "60"), file], "expires_after[seconds]"),
        (vec![purpose, ("expires_after[anchor]", None, "never"), file], "expires_after[anchor]"),
        (vec![purpose, ("expires_after[anchor]", None, "created_at"), file], "expires_after[seconds]"),
    ] {
        let (content_type, body) = form(&parts);
        let reply = service.post_as("/v1/files", &content_type, body).await;
        assert_eq!(reply.bad_param(), param, "{parts:?}");
    }
    let long = "x".repeat(5000);
    let (content_type, body) = form(&[("purpose", None, &long), file]);
    assert_eq!(service.post_as("/v1/files", &content_type, body).await.bad_param(), "purpose");
    assert_eq!((service.files_on_disk(), ids(&service.get("/v1/files").await).len()), (0, 0));

    let reply = service.post("/v1/files", &json!({"purpose": "fine-tune"})).await;
    let (_, code, message) = reply.failure(415);
    assert_eq!(code, "unsupported_media_type");
    assert!(message.contains("multipart/form-data"), "{message}");
    let unbounded = service.post_as("/v1/files", "multipart/form-data", "x").await;
    assert_eq!(unbounded.failure(400).1, "invalid_form");
}

#[tokio::test]
async fn faulty_training_data_is_refused_with_its_lines() {
    let service = Service::new();
    let bytes = format!("{}not json\n{}{{}}\n", training_line("a"), training_line("b"));
    for first in [true, false] {
        let mut parts = vec![("purpose", None, "fine-tune"), ("file", Some("train.jsonl"), bytes.as_str())];
        if !first {
            parts.reverse();
        }
        let (content_type, body) = form(&parts);
        let reply = service.post_as("/v1/files", &content_type, body).await;
        let (param, code, message) = reply.failure(400);
        assert_eq!((param.as_deref(), code.as_str()), (Some("file"), "invalid_training_file"));
        assert!(message.contains("line 2") && message.contains("line 4"), "{message}");
    }
    assert_eq!(service.files_on_disk(), 0);
}

#[tokio::test]
async fn files_have_a_limit_of_their_own() {
    let service = Service::with(|options| {
        options.max_body_bytes = 100;
        options.max_json_bytes = 100;
        options.max_upload_bytes = 2 << 20;
    });
    let large = vec![b'x'; 1 << 20];
    upload(&service, "user_data", "a.bin", &large).await;
    let too_large = "x".repeat(4 << 20);
    let (content_type, body) = form(&[("purpose", None, "user_data"), ("file", Some("b"), &too_large)]);
    let announced = Request::post("/v1/files").header("content-type", &content_type);
    let announced = announced.header("content-length", body.len()).body(Body::from(body.clone())).unwrap();
    let pieces = body.into_bytes();
    let pieces: Vec<_> = pieces.chunks(1 << 16).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let unannounced = Request::post("/v1/files").header("content-type", &content_type);
    let unannounced = unannounced.body(Body::from_stream(tokio_stream::iter(pieces))).unwrap();
    for request in [announced, unannounced] {
        let (param, code, message) = service.send(request).await.failure(413);
        assert_eq!((param.as_deref(), code.as_str()), (Some("file"), "file_too_large"));
        assert!(message.contains(&(2 << 20).to_string()), "{message}");
    }
    assert_eq!(service.files_on_disk(), 1);
}

#[tokio::test]
async fn a_form_without_parts_is_not_gathered_in_memory() {
    let service = Service::new();
    let pieces = (0..4000).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1 << 10]));
    let request = Request::post("/v1/files").header("content-type", "multipart/form-data; boundary=b");
    let request = request.body(Body::from_stream(tokio_stream::iter(pieces))).unwrap();
    let (_, code, message) = service.send(request).await.failure(400);
    assert_eq!(code, "invalid_form");
    assert!(message.contains("without a part"), "{message}");
}

/// Numbers that look random and are the same in every run.
fn numbers(mut state: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    }
}

#[tokio::test]
async fn damaged_forms_never_break_the_service_and_leave_nothing() {
    let service = Service::new();
    let line = training_line("a");
    let (content_type, whole) = form(&[("purpose", None, "fine-tune"), ("file", Some("t.jsonl"), &line)]);
    let mut number = numbers(7);
    let mut refused = 0;
    for _ in 0..400 {
        let mut body = whole.clone().into_bytes();
        for _ in 0..=number(3) {
            let at = number(body.len());
            match number(4) {
                0 => body.truncate(at.max(1)),
                1 => body[at] = number(256) as u8,
                2 => drop(body.splice(at..at, b"\r\n--".iter().copied())),
                _ => drop(body.drain(at..(at + 9).min(body.len()))),
            }
            if body.is_empty() {
                break;
            }
        }
        let pieces: Vec<_> = body.chunks(number(60) + 1).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
        let request = Request::post("/v1/files").header("content-type", &content_type);
        let reply = service.send(request.body(Body::from_stream(tokio_stream::iter(pieces))).unwrap()).await;
        if reply.status == 200 {
            let id = reply.json()["id"].as_str().unwrap().to_owned();
            assert_eq!(service.delete(&format!("/v1/files/{id}")).await.status, 200);
        } else {
            reply.failure(400);
            refused += 1;
        }
        assert_eq!(service.files_on_disk(), 0, "{}", String::from_utf8_lossy(&body));
    }
    assert!(refused > 100, "only {refused} forms were refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_uploads_at_once_are_kept_apart() {
    let service = std::sync::Arc::new(Service::new());
    let uploads: Vec<_> = (0..50_u8)
        .map(|at| {
            let service = std::sync::Arc::clone(&service);
            tokio::spawn(async move {
                let bytes = vec![b'A' + at % 26; 100_000 + usize::from(at)];
                let id = upload(&service, "user_data", &format!("{at}.bin"), &bytes).await;
                (id, bytes)
            })
        })
        .collect();
    let mut total = 0;
    for uploading in uploads {
        let (id, bytes) = uploading.await.unwrap();
        assert_eq!(service.get(&format!("/v1/files/{id}/content")).await.body, bytes);
        total += bytes.len();
    }
    assert_eq!(ids(&service.get("/v1/files").await).len(), 50);
    assert_eq!(service.files_on_disk(), 50);
    assert_eq!(service.metric("anser_uploaded_bytes_total").await, Some(total as f64));
    assert_eq!(service.metric("anser_uploaded_files_total").await, Some(50.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_sender_goes_away_leaves_nothing() {
    let service = Service::new();
    let listening = Listening::start(&service, |_| {}).await;
    let (content_type, body) = form(&[("purpose", None, "user_data"), ("file", Some("a"), &"x".repeat(1 << 20))]);
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = TcpStream::connect(listening.address).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&body.as_bytes()[..body.len() / 2]).await.unwrap();
    socket.flush().await.unwrap();
    eventually("its bytes are on the way to the disk", || service.files_on_disk() == 1).await;
    drop(socket);
    eventually("they are gone", || service.files_on_disk() == 0).await;
    listening.stop().await.unwrap().unwrap();
    assert_eq!(service.get("/v1/files").await.json()["data"], Value::Array(Vec::new()));
}
