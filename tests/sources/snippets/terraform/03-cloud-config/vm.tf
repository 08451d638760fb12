locals {
  ca_ip  = "10.0.0.10"
  domain = "internal.example"
}
resource "libvirt_cloudinit_disk" "init" {
  name      = "init.iso"
  user_data = <<EOF
#cloud-config
hostname: tfvm
runcmd:
  - echo "${local.ca_ip} ca.${local.domain}" >> /etc/hosts
  - echo "$${HOME}" > /tmp/home
write_files:
  - path: /etc/resolv.conf
    content: |
      nameserver ${var.unknown_dns}
EOF
}
