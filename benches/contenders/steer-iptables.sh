BACKEND=iptables NAME=benchipt
. "$(dirname "${BASH_SOURCE[0]}")/steer-redirect.sh"
HOW="steer up -m redirect: iptables, SO_ORIGINAL_DST; read+write, then splice"
