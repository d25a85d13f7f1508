// Real browsers without a driver: a fresh profile, one page, and what the page reports by itself.
// A forward proxy is named at the start; browsers would pass it by for loopback unless told not to.

import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const CHROMIUMS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
const FIREFOXES = ['/usr/bin/firefox-esr', '/usr/bin/firefox']

/** Arguments that send a Chromium through the forward proxy on `port`, if there is one. */
export const chromiumArguments = (port) => (port ? [`--proxy-server=http://127.0.0.1:${port}`, '--proxy-bypass-list=<-loopback>'] : ['--no-proxy-server'])

/** Preferences that do the same in Firefox. `ssl` is the proxy for tunnels, which `ws://` takes too. */
export const firefoxPreferences = (port) => (port
  ? { 'network.proxy.type': 1, 'network.proxy.http': '127.0.0.1', 'network.proxy.http_port': port, 'network.proxy.ssl': '127.0.0.1', 'network.proxy.ssl_port': port, 'network.proxy.no_proxies_on': '', 'network.proxy.allow_hijacking_localhost': true }
  : { 'network.proxy.type': 0 })

// What a browser would otherwise ask of the network, or of a person.
const QUIET = {
  'app.normandy.enabled': false,
  'app.update.disabledForTesting': true,
  'browser.aboutwelcome.enabled': false,
  'browser.newtabpage.enabled': false,
  'browser.shell.checkDefaultBrowser': false,
  'browser.safebrowsing.downloads.remote.enabled': false,
  'browser.safebrowsing.provider.google4.updateURL': '',
  'datareporting.policy.dataSubmissionEnabled': false,
  'extensions.getAddons.cache.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'network.dns.disablePrefetch': true,
  'network.prefetch-next': false,
  'services.settings.server': 'data:,#remote-settings-dummy/v1',
  'toolkit.telemetry.enabled': false,
}

export const browsers = {
  chromium: {
    path: process.env.CHROMIUM ?? CHROMIUMS.find(existsSync),
    async open(bench, { launch }, url) {
      const flags = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage']
      await bench.run(this.path, [...flags, `--user-data-dir=${join(bench.work, 'chromium')}`, ...launch.chromium, url], [])
    },
  },
  firefox: {
    path: process.env.FIREFOX ?? FIREFOXES.find(existsSync),
    async open(bench, { launch }, url) {
      const profile = join(bench.work, 'firefox')
      await mkdir(profile)
      const lines = Object.entries({ ...QUIET, ...launch.firefox }).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});`)
      await writeFile(join(profile, 'user.js'), lines.join('\n'))
      await bench.run(this.path, ['--headless', '--no-remote', '--profile', profile, url], [], { env: { HOME: bench.work } })
    },
  },
}
