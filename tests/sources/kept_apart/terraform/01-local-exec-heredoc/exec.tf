variable "node" { default = "101" }
resource "null_resource" "hosts" {
  /* echo "10.0.0.9 no" >> /etc/hosts */
  provisioner "local-exec" {
    command = <<-EOT
      pct exec ${var.node} -- bash -c 'cat >> /etc/hosts' <<HOSTS
      10.0.0.10 ca.internal.example
      HOSTS
    EOT
  }
  provisioner "file" {
    content     = "nameserver 1.1.1.1\n"
    destination = "/etc/resolv.conf"
  }
}
