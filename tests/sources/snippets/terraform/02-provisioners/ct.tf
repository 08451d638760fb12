# echo "10.0.0.1 x" >> /etc/hosts
resource "proxmox_lxc" "ca" {
  vmid         = 103
  hostname     = "ca"
  nameserver   = "8.8.8.8"
  searchdomain = "internal.example"

  provisioner "remote-exec" {
    inline = [
      "apt-get update",
      "echo '10.0.0.153 traefik.internal.example' >> /etc/hosts",
    ]
  }
  provisioner "local-exec" {
    command = "pct exec 102 -- sh -c \"echo '10.0.0.10 ca.internal.example' >> /etc/hosts\""
  }
}
