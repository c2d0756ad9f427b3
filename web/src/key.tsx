import { useState } from "preact/hooks";
import { rememberKey } from "./api";

/** Asks for the key of a server that wants one. */
export function KeyForm({ onKey }: { onKey: () => void }) {
  const [key, setKey] = useState("");
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        rememberKey(key.trim());
        onKey();
      }}
    >
      <fieldset role="group">
        <input
          type="password"
          autocomplete="off"
          aria-label="API key"
          placeholder="API key"
          value={key}
          onInput={(event) => setKey(event.currentTarget.value)}
        />
        <button type="submit">Unlock</button>
      </fieldset>
    </form>
  );
}
