# A plain host for ssh.container-test.ts: Debian with systemd as its first process, sshd, sudo and Node, and nothing of lockstep's.
ARG BASE=lockstep-base:bookworm
FROM ${BASE}
RUN apt-get update \
  && apt-get install -y --no-install-recommends systemd systemd-sysv dbus openssh-server sudo \
  && rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_* \
  && mkdir -p /var/log/journal /root/.ssh && chmod 700 /root/.ssh \
  && useradd --create-home --shell /bin/sh ops && echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops \
  && useradd --create-home --shell /bin/sh guest \
  && for user in ops guest; do mkdir -m 700 /home/$user/.ssh && chown $user: /home/$user/.ssh; done \
  && systemctl mask systemd-logind.service systemd-udevd.service getty.target console-getty.service
# Docker mounts control groups read-only, and systemd keeps its units in them. Each host has keys of its own.
RUN printf '%s\n' '#!/bin/sh' \
  'for place in /sys/fs/cgroup /sys/fs/cgroup/*; do' \
  '  if mountpoint -q "$place"; then mount -o remount,bind,rw "$place"; fi' \
  'done' \
  'ssh-keygen -A >/dev/null' \
  'exec "$@"' >/usr/local/sbin/boot && chmod 755 /usr/local/sbin/boot
STOPSIGNAL SIGRTMIN+3
ENTRYPOINT ["/usr/local/sbin/boot"]
CMD ["/sbin/init"]
