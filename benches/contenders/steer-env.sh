HOW="steer run -m env: HTTP CONNECT to a port that asks who connects; read+write, then splice"
TOPOS="pair lo"
start() {
  need steer
  cat >"$RUN/steer.yaml" <<C
method: env
listen: { explicit: "127.0.0.1:$PORT" }
log: { connections: none }
C
  STEER_RUN_DIR="$RUN" bg "$PROXY_NS" steer run -c "$RUN/steer.yaml" -- sleep infinity
  wait_for "$PROXY_NS" "$PORT"
  VIA=http://127.0.0.1:$PORT
}
