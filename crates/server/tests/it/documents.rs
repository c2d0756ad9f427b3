//! `/v1/collections/{name}/documents`.

use serde_json::{Value, json};

use crate::support::Service;

const DOCUMENTS: &str = "/v1/collections/shop/documents";

async fn empty() -> Service {
    let service = Service::new();
    service.post("/v1/collections", &json!({"name": "shop"})).await;
    service
}

async fn ids(service: &Service, query: &str) -> Vec<String> {
    let page = service.get(&format!("{DOCUMENTS}{query}")).await.json();
    page["data"].as_array().unwrap().iter().map(|d| d["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn json_comes_as_a_list_or_under_documents() {
    let service = empty().await;
    let row = |id: &str, text: &str| json!({"id": id, "title": "T", "text": text, "score": 4});
    let report = service.post(DOCUMENTS, &json!([row("a", "one"), row("b", "two")])).await;
    assert_eq!(report.status, 200, "{}", report.text());
    let report = report.json();
    assert_eq!((&report["inserted"], &report["rejected"]), (&json!(2), &json!(0)));
    let report =
        service.post(DOCUMENTS, &json!({"documents": [row("b", "two"), row("c", "three"), row("a", "uno")]})).await;
    let report = report.json();
    assert_eq!((&report["inserted"], &report["replaced"], &report["unchanged"]), (&json!(1), &json!(1), &json!(1)));
    let document = service.get(&format!("{DOCUMENTS}/a")).await.json();
    assert_eq!(document, json!({"id": "a", "title": "T", "text": "uno", "attributes": {"score": 4}}));
}

#[tokio::test]
async fn other_formats_come_under_their_content_types() {
    let service = empty().await;
    for (content_type, body) in [
        ("application/x-ndjson", "{\"id\":\"n1\",\"text\":\"one\"}\n{\"id\":\"n2\",\"text\":\"two\"}\n"),
        ("text/csv; charset=utf-8", "id,text\nc1,\"one, two\"\nc2,three\n"),
        ("text/tab-separated-values", "id\ttext\nt1\tone\nt2\ttwo\n"),
    ] {
        let report = service.post_as(DOCUMENTS, content_type, body).await;
        assert_eq!(report.status, 200, "{content_type}: {}", report.text());
        assert_eq!(report.json()["inserted"], 2, "{content_type}");
    }
    assert_eq!(ids(&service, "").await, ["c1", "c2", "n1", "n2", "t1", "t2"]);
    for content_type in ["text/plain", "image/png", "application/x-www-form-urlencoded"] {
        let (_, code, message) = service.post_as(DOCUMENTS, content_type, "id,text\na,b\n").await.failure(415);
        assert_eq!(code, "unsupported_media_type");
        assert!(message.contains("text/csv") && message.contains(content_type), "{message}");
    }
}

#[tokio::test]
async fn columns_are_named_in_the_query() {
    let service = empty().await;
    let query = "?text_field=body&id_field=key&title_field=head";
    let csv = "key,head,body,text\nk1,Head,the body,not this\n";
    assert_eq!(service.post_as(&format!("{DOCUMENTS}{query}"), "text/csv", csv).await.status, 200);
    let document = service.get(&format!("{DOCUMENTS}/k1")).await.json();
    assert_eq!((&document["title"], &document["text"]), (&json!("Head"), &json!("the body")));
    assert_eq!(service.post_as(&format!("{DOCUMENTS}?txt=body"), "text/csv", csv).await.bad_param(), "txt");
}

#[tokio::test]
async fn bad_rows_are_listed_and_good_ones_kept() {
    let service = empty().await;
    let body = "{\"id\":\"a\",\"text\":\"one\"}\n{oops\n{\"id\":\"c\",\"text\":\"three\"}\n";
    let report = service.post_as(DOCUMENTS, "application/x-ndjson", body).await;
    assert_eq!(report.status, 200);
    let report = report.json();
    assert_eq!((&report["inserted"], &report["rejected"]), (&json!(2), &json!(1)));
    assert_eq!(report["errors"][0]["line"], 2);
    assert_eq!(ids(&service, "").await, ["a", "c"]);
}

#[tokio::test]
async fn a_body_that_is_not_json_stores_nothing() {
    let service = empty().await;
    for body in ["[{\"id\":\"a\",\"text\":\"one\"},", "{\"documents\":[{\"id\":\"a\",\"text\":\"one\"}]", "", "[]]"] {
        assert_eq!(service.post_as(DOCUMENTS, "application/json", body).await.failure(400).1, "invalid_json", "{body}");
    }
    for (body, param) in [
        (json!({"documents": [], "overwrite": true}), "overwrite"),
        (json!({"documents": "a"}), "documents"),
        (json!({}), "documents"),
        (json!("a"), "documents"),
    ] {
        assert_eq!(service.post(DOCUMENTS, &body).await.bad_param(), param);
    }
    assert!(ids(&service, "").await.is_empty());
}

#[tokio::test]
async fn an_unknown_collection_is_not_made_by_a_mistyped_name() {
    let service = empty().await;
    service.post("/v1/collections/shopp/documents", &json!([{"text": "one"}])).await.failure(404);
    assert_eq!(service.get("/v1/collections").await.json()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn documents_come_in_pages() {
    let service = empty().await;
    let rows: Vec<Value> = (0..5).map(|at| json!({"id": format!("d{at}"), "text": format!("text {at}")})).collect();
    service.post(DOCUMENTS, &json!(rows)).await;
    let page = service.get(&format!("{DOCUMENTS}?limit=2")).await.json();
    assert_eq!((&page["object"], &page["has_more"]), (&json!("list"), &json!(true)));
    assert_eq!(ids(&service, "?limit=2").await, ["d0", "d1"]);
    assert_eq!(ids(&service, "?limit=2&after=d1").await, ["d2", "d3"]);
    assert_eq!(service.get(&format!("{DOCUMENTS}?limit=3&after=d1")).await.json()["has_more"], false);
    assert_eq!(service.get(&format!("{DOCUMENTS}?limit=0")).await.bad_param(), "limit");
    service.get(&format!("{DOCUMENTS}?limit=x")).await.failure(400);
    assert_eq!(service.get(&format!("{DOCUMENTS}?lmit=5")).await.bad_param(), "lmit");
}

#[tokio::test]
async fn ids_may_hold_slashes_spaces_and_the_names_of_routes() {
    let service = empty().await;
    let ids = ["a/b/c", "/lead", "end/", "50% off?", "delete", "汉字", "a b"];
    let rows: Vec<Value> = ids.iter().map(|id| json!({"id": id, "text": format!("text of {id}")})).collect();
    assert_eq!(service.post(DOCUMENTS, &json!(rows)).await.json()["inserted"], ids.len());
    for (path, id) in [
        ("a/b/c", "a/b/c"),
        ("a%2Fb%2Fc", "a/b/c"),
        ("%2Flead", "/lead"),
        ("end%2F", "end/"),
        ("50%25%20off%3F", "50% off?"),
        ("delete", "delete"),
        ("%E6%B1%89%E5%AD%97", "汉字"),
        ("a%20b", "a b"),
    ] {
        assert_eq!(service.get(&format!("{DOCUMENTS}/{path}")).await.json()["id"], id, "{path}");
    }
    for path in ["a%2Fb%2Fc", "delete"] {
        assert_eq!(service.delete(&format!("{DOCUMENTS}/{path}")).await.json()["deleted"], true);
        assert_eq!(service.delete(&format!("{DOCUMENTS}/{path}")).await.failure(404).0.as_deref(), Some("id"));
        service.get(&format!("{DOCUMENTS}/{path}")).await.failure(404);
    }
}

#[tokio::test]
async fn several_documents_are_deleted_at_once() {
    let service = Service::new().with_shop().await;
    let path = format!("{DOCUMENTS}/delete");
    let reply = service.post(&path, &json!({"ids": ["returns", "hours", "unknown"]})).await;
    assert_eq!(reply.json(), json!({"deleted": 2}));
    assert_eq!(ids(&service, "").await, ["postage"]);
    assert_eq!(service.post(&path, &json!({"ids": ["a", ""]})).await.bad_param(), "ids[1]");
    assert_eq!(service.post(&path, &json!({"id": "a"})).await.bad_param(), "id");
}
