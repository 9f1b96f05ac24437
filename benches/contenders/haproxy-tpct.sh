HOW="TPROXY, splice, as haproxy-tproxy, with conntrack switched on by a rule"
start() {
  cat >"$RUN/haproxy.cfg" <<C
global
  maxconn 8500
  maxpipes 1000
  nbthread 2
defaults
  mode tcp
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  option splice-request
  option splice-response
listen steer
  bind 0.0.0.0:$PORT transparent
  server origin 0.0.0.0:0
C
  bg "$PROXY_NS" haproxy -db -f "$RUN/haproxy.cfg"
  wait_for "$PROXY_NS" "$PORT"
  tproxy "$PORT"
  in_ns "$PROXY_NS" nft 'table inet ctk { chain o { type filter hook output priority 0; ct state invalid counter drop; }; }'
}
