# The client as a child of one `steer run`, as an ordinary user.
CAPS="${CAPS_OF:-tcp udp}" TOPOS="pair lo" RELAY=${RELAYED:-yes}
HOW="steer run -m netns: namespaces of its own, transparent listeners inside; read+write, then splice"
start() {
  need steer
  need python3
  local inside
  inside="$(dirname "${BASH_SOURCE[0]}")/inside.py"
  cat >"$RUN/steer.yaml" <<C
method: ${METHOD:-netns}
log: { connections: none }
${CONFIG:-}
C
  mkdir "$RUN/inside"
  chown nobody "$RUN/inside"
  HOME=/nonexistent STEER_RUN_DIR="$RUN/inside" bg "$PROXY_NS" \
    setpriv --reuid nobody --regid nogroup --clear-groups \
    steer run -c "$RUN/steer.yaml" -- python3 "$inside" serve "$RUN/inside/socket"
  for _ in $(seq 100); do [ -S "$RUN/inside/socket" ] && break; sleep 0.05; done
  [ -S "$RUN/inside/socket" ] || { tail -n 3 "$RUN/log" >&2; return 1; }
  WRAP="python3 $inside $RUN/inside/socket"
}
