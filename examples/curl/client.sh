#!/usr/bin/env bash
# Uses a running Anser server with nothing but curl.
#
#   anser demo          in one terminal
#   ./client.sh         in another; ANSER_URL names another server
set -euo pipefail

url=${ANSER_URL:-http://127.0.0.1:8080}
collection=${ANSER_COLLECTION:-shop-faq}
auth="Authorization: Bearer ${ANSER_API_KEY:-unused}"
json="Content-Type: application/json"

call() { curl --silent --show-error --fail-with-body -H "$auth" -H "$json" "$@"; echo; }

echo "# which models"
call "$url/v1/models"

echo "# embed a text"
call "$url/v1/embeddings" -d '{"model": "bge-small-en-v1.5", "input": "free delivery", "encoding_format": "float"}' | cut -c1-160

echo "# make a collection, put two documents in, search them"
call -X DELETE "$url/v1/collections/curl-example" >/dev/null 2>&1 || true
call "$url/v1/collections" -d '{"name": "curl-example"}'
call "$url/v1/collections/curl-example/documents" -d '{"documents": [
  {"id": "kettle", "text": "The kettle boils a litre in three minutes.", "attributes": {"score": 5}},
  {"id": "lamp", "text": "The lamp is too dim to read by.", "attributes": {"score": 2}}]}'
call "$url/v1/collections/curl-example/search" -d '{"query": "how fast is the water hot?", "limit": 1}' | grep --quiet '"kettle"'
call -X DELETE "$url/v1/collections/curl-example"

echo "# ask, and read the answer while it is written"
call --no-buffer "$url/v1/collections/$collection/answers" -d '{"question": "Until when is a gift card valid?", "stream": true}'
echo ok
