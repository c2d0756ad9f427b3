import { defineConfig } from "vite";

// `npm run dev` serves the page with live reload and sends API calls to a running `anser serve`.
export default defineConfig({
  server: { proxy: { "/v1": "http://127.0.0.1:8080" } },
  build: { target: "es2022", assetsInlineLimit: 0 },
});
