// What runs inside of the guest, where AF_VSOCK, systemd-machined and libvirtd are real: scripts that
// prepare it, each followed by a table of commands and their results.
//
// Rules
// 1. A row with a code runs the proxy, which fails with its message and exit status. One with `leads`
//    runs the proxy until its log names that. Any other row runs ssh, which logs in, sees the guest or
//    a container there, and gives the remote exit status.
// 2. `ada` is an ordinary user, whose XDG_RUNTIME_DIR has no socket at first.
// 3. A registered machine has the guest's own CID, which the kernel loops back: machined refuses CIDs
//    below 3.

import { Code } from "../../assembly/codes";
import { guestCid } from "./guest";

export interface Row {
  /** As typed. */
  address: string;
  as?: "ada";
  /** How the proxy fails. */
  code?: Code;
  /** What its message names behind the address: `at` this. */
  at?: string;
  /** Where the proxy connects to, and gets no answer: the domain has no system. */
  leads?: string;
  /** Where a login ends; the guest if left out. */
  in?: "container";
  /** The arguments of the fragment's ProxyCommand, if they are others. */
  tokens?: string;
}

export interface Table {
  title: string;
  /** Runs before with `sh -e`, as root. */
  prepare: string;
  rows: readonly Row[];
  /** What no row can say: scripts for `sh -e`, by their titles. */
  scripts?: Readonly<Record<string, string>>;
}

const runtime = "/run/user/1000";
const machined = "/run/systemd/machine/io.systemd.Machine";
const libvirtd = "/run/libvirt/libvirt-sock-ro";
const capitals = "%h %p %n";

/** Registers a machine; `more` has its other members. */
const register = (name: string, more: string): string => `
systemd-run --quiet --unit 'machine-${name}' sleep infinity
varlinkctl call ${machined} io.systemd.Machine.Register \\
  '{"name":"${name}","leader":'$(systemctl show -P MainPID 'machine-${name}')',${more}}' >/dev/null`;

const vm = (members: string): string => `"class":"vm"${members}`;

const define = (name: string, device: string): string => `
cat >/run/domain.xml <<'EOF'
<domain type='qemu'><name>${name}</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64'>hvm</type></os><devices>${device}</devices></domain>
EOF
virsh -q define /run/domain.xml`;

const cid = (attributes: string): string => `<vsock model='virtio'><cid ${attributes}/></vsock>`;

const asAda = `runuser -u ada -- env HOME=/home/ada XDG_RUNTIME_DIR=${runtime}`;

/** Both ways to ask for a domain: root's, and an ordinary user's by polkit. */
const both = (row: Row): Row[] => [row, { ...row, as: "ada" }];

export const tables: readonly Table[] = [
  {
    // systemd's TEST-74-AUX-UTILS has these for systemd-ssh-proxy, and `scp vsock%1:`.
    title: "the commands of systemd's own test",
    prepare: "modprobe -a vsock_loopback vhost_vsock",
    rows: [
      { address: ".host" },
      { address: "machine/.host" },
      { address: "unix/run/ssh-unix-local/socket" },
      { address: "vsock/1" },
      { address: "vsock%1" },
    ],
    scripts: {
      "scp vsock%1: copies": `
scp -q vsock%1:/etc/machine-id /run/copy
cmp /run/copy /etc/machine-id`,
    },
  },
  {
    title: "machines of systemd-machined",
    // A multiplexer of one line: dash reads single bytes, so what follows CONNECT stays in the socket.
    prepare: `
${register("Foo", vm(`,"vSockCid":${guestCid}`))}
(${register("local", vm(',"vSockCid":1'))}) 2>&1 | grep -q InvalidParameter
${register("path", vm(',"sshAddress":"unix/run/ssh-unix-local/socket"'))}
${register("mux", vm(',"sshAddress":"vsock-mux/run/mux.sock"'))}
cat >/usr/local/bin/multiplexer <<'EOF'
#!/bin/sh
read line
echo OK 22
exec socat - UNIX:/run/ssh-unix-local/socket
EOF
chmod +x /usr/local/bin/multiplexer
systemd-run --quiet --unit mux socat UNIX-LISTEN:/run/mux.sock,fork EXEC:multiplexer
until [ -S /run/mux.sock ]; do sleep 0.1; done
${register("internet", vm(',"sshAddress":"192.0.2.1"'))}
${register("bare", vm(""))}
${register("other", '"class":"container","service":"other"')}
${register("quiet", '"class":"container","service":"systemd-nspawn"')}`,
    rows: [
      { address: "machine%Foo" },
      { address: "machine%Foo", as: "ada" },
      { address: "machine/Foo", tokens: capitals },
      { address: "machine/foo", code: Code.NoSuchMachine },
      { address: "machine/path" },
      { address: "machine/mux" },
      { address: "machine/internet", code: Code.OtherAddress },
      { address: "machine/bare", code: Code.NoCid, at: machined },
      { address: "machine/other", code: Code.UnknownClass, at: machined },
      {
        address: "machine/quiet",
        code: Code.NoContainerSocket,
        at: "/run/systemd/nspawn/quiet/unix-export/ssh",
      },
      { address: "machine/none", code: Code.NoSuchMachine },
      { address: "machine/none", as: "ada", code: Code.NoSuchMachine },
    ],
    scripts: {
      "--wait looks the name up anew in each attempt": `
waiting='ProxyCommand ssh-vsock-proxy --wait 5m --log-file /run/late.log -- %h %p'
ssh -n -o "$waiting" machine/late 'exit 42' &
until grep -qs 'no such machine: .* again in' /run/late.log; do kill -0 $! || exit 1; sleep 0.1; done
${register("late", vm(`,"vSockCid":${guestCid}`))}
wait $! || [ $? = 42 ]`,
    },
  },
  {
    title: "a container of systemd-nspawn",
    // This system over again, with its changes in memory.
    prepare: `
mkdir -p /run/web/upper /run/web/work /run/web/tree
mount -t overlay -o lowerdir=/,upperdir=/run/web/upper,workdir=/run/web/work overlay /run/web/tree
systemd-run --quiet --unit web -p Delegate=yes systemd-nspawn --quiet --keep-unit -M Web \\
  -D /run/web/tree --boot systemd.unit=ssh-access.target systemd.wants=sshd-unix-export.socket
until [ -S /run/systemd/nspawn/unix-export/Web/ssh ]; do
  systemctl is-active --quiet web || { journalctl -u web; exit 1; }
  sleep 0.1
done`,
    rows: [
      { address: "machine%Web", in: "container" },
      { address: "machine/Web", tokens: capitals, in: "container" },
      { address: "machine%Web", as: "ada", in: "container" },
    ],
  },
  {
    title: "the user's systemd-machined beside the system's",
    // systemd 257 has none for users, so this one is scripted. The system's is the real one.
    prepare: `
install -d -o ada -m 700 ${runtime} ${runtime}/systemd ${runtime}/systemd/machine
cat >/usr/local/bin/user-machined <<'EOF'
#!/bin/sh
case $(sed -z 1q | tr -d '\\0') in
*'"name":"mine"'* | *'"name":"bare"'*)
  printf '{"parameters":{"name":"mine","class":"vm","service":"mkosi","vSockCid":${guestCid}}}\\0' ;;
*) printf '{"error":"io.systemd.Machine.NoSuchMachine","parameters":{}}\\0' ;;
esac
EOF
chmod +x /usr/local/bin/user-machined
socket=${runtime}/systemd/machine/io.systemd.Machine
systemd-run --quiet --unit user-machined socat UNIX-LISTEN:$socket,fork,user=ada,mode=600 EXEC:user-machined
until [ -S $socket ]; do sleep 0.1; done`,
    rows: [
      { address: "machine/mine", as: "ada" },
      // The system's has no CID for it.
      { address: "machine/bare", as: "ada" },
      { address: "machine%Foo", as: "ada" },
      { address: "machine/none", as: "ada", code: Code.NoSuchMachine },
    ],
  },
  {
    title: "the user's systemd-machined does not answer",
    prepare: `
systemctl kill -s KILL user-machined
while systemctl is-active --quiet user-machined; do sleep 0.1; done
[ -S ${runtime}/systemd/machine/io.systemd.Machine ]`,
    rows: [{ address: "machine%Foo", as: "ada" }],
  },
  {
    title: "the user's systemd-machined may not be asked",
    prepare: `chown root ${runtime}/systemd/machine`,
    rows: [{ address: "machine%Foo", as: "ada" }],
  },
  {
    title: "domains of libvirt",
    prepare: `
${define("Off", cid("auto='no' address='77'"))}
${define("OffAuto", cid("auto='yes'"))}
${define("On", cid("auto='no' address='78'"))}
${define("OnAuto", cid("auto='yes'"))}
${define("plain", "")}
for domain in On OnAuto plain; do virsh -q start --paused $domain; done
systemctl start polkit`,
    rows: [
      ...both({ address: "qemu%Off", code: Code.DomainOff, at: libvirtd }),
      ...both({ address: "qemu%OffAuto", code: Code.DomainOff, at: libvirtd }),
      ...both({ address: "qemu%On", leads: "vsock/78" }),
      ...both({ address: "qemu:system/OnAuto", leads: "vsock/3" }),
      ...both({ address: "qemu%$(virsh domuuid On)", leads: "vsock/78" }),
      ...both({ address: "qemu%$(virsh domid On)", leads: "vsock/78" }),
      ...both({ address: "qemu/plain", code: Code.NoVsockDevice, at: libvirtd }),
      ...both({ address: "qemu/on", code: Code.NoSuchDomain }),
      { address: "machine%qemu-$(virsh domid On)-On", code: Code.UseLibvirt, at: machined },
    ],
  },
  {
    title: "the user's libvirtd beside the system's",
    prepare: `
${asAda} libvirtd -d
until [ -S ${runtime}/libvirt/libvirt-sock ]; do sleep 0.1; done
${define("Mine", cid("auto='no' address='79'"))}
virsh -q undefine Mine
${asAda} virsh -q -c qemu:///session define /run/domain.xml`,
    rows: [
      {
        address: "qemu%Mine",
        as: "ada",
        code: Code.DomainOff,
        at: `${runtime}/libvirt/libvirt-sock`,
      },
      {
        address: "qemu:session/Mine",
        as: "ada",
        code: Code.DomainOff,
        at: `${runtime}/libvirt/libvirt-sock`,
      },
      { address: "qemu:system/Mine", as: "ada", code: Code.NoSuchDomain },
      { address: "qemu%On", as: "ada", leads: "vsock/78" },
    ],
  },
  {
    title: "polkit refuses",
    prepare: `
pkill -u ada libvirtd
while [ -e ${runtime}/libvirt/libvirtd.pid ]; do sleep 0.1; done
cat >/etc/polkit-1/rules.d/10-refuse.rules <<'EOF'
polkit.addRule(function (action, subject) {
  if (action.id == "org.libvirt.unix.monitor") return polkit.Result.NO;
});
EOF
systemctl restart polkit`,
    rows: [
      { address: "qemu:system/On", as: "ada", code: Code.LookupDenied },
      { address: "qemu:system/On", code: Code.NoAnswer, at: "vsock/78 port 22" },
    ],
  },
];
